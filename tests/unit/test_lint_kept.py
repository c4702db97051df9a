"""What the linter keeps of prompts: within its bytes, the last ones, and what it is said to take."""

import gc
import tracemalloc

import msgspec
import pytest
from tests.unit.lint_calls import LATER_SYSTEM, PENDING, SYSTEM, call, step, steps_of, user

from turnwise.proxy.lint import Linter, Step
from turnwise.settings import LintSettings


@pytest.fixture
def linter():
    return Linter(LintSettings(), bytes_per_token=4.0)


def test_prompts_kept_for_late_lessons_are_bounded():
    linter = Linter(LintSettings(max_bytes=40_000), bytes_per_token=4.0)
    turns = [SYSTEM, user("go " + "x" * 1500)]
    for number in range(10):
        turns += step(number)
        linter.check(call(*turns), float(number), parted=PENDING)
    assert linter.stats.num_bytes <= 40_000 * (1 + 1 / 8)


def test_what_is_kept_stays_within_its_bytes_and_the_least_recent_goes():
    linter = Linter(LintSettings(max_bytes=40_000), bytes_per_token=4.0)
    calls = [call(SYSTEM, user(f"{number} " + "x" * 4000)) for number in range(20)]
    for one in calls:
        linter.check(one, 0.0)
        assert linter.stats.num_bytes <= 40_000
    assert 4 <= linter.stats.num_prompts < 10
    assert steps_of(linter, calls[-1], calls[0]) == [Step.EXTENDS, Step.NEW]


@pytest.mark.parametrize("session", [None, "s"])
def test_what_is_counted_of_many_small_prompts_is_what_they_take(session):
    gc.collect()
    tracemalloc.start()
    linter = Linter(LintSettings(max_bytes=1 << 20), bytes_per_token=4.0)
    for number in range(500):
        linter.check(call(SYSTEM, user(f"go {number}"), *step(number), session=session and f"{session}{number}"), 0.0)
    stats = linter.stats
    full = tracemalloc.get_traced_memory()[0]
    del linter
    taken = full - tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 300 < stats.num_prompts < 500
    assert 0.5 * stats.num_bytes < taken < 1.2 * stats.num_bytes


def test_a_prompt_that_takes_more_than_a_quarter_is_not_kept_and_counted():
    linter = Linter(LintSettings(max_bytes=40_000), bytes_per_token=4.0)
    small, large = call(SYSTEM, user("go")), call(SYSTEM, user("go"), *step(1, "x" * 9000))
    assert steps_of(linter, small, large, large) == [Step.NEW, Step.EXTENDS, Step.NEW]
    assert msgspec.structs.astuple(linter.stats) == (0, 0, 2)


def test_an_unstable_conversation_keeps_no_more_than_its_last_two_prompts(linter):
    for number in range(10):
        system = {**SYSTEM, "content": f"{SYSTEM['content']}:{number:02}"}
        linter.check(call(system, user("go"), *[turn for at in range(number) for turn in step(at)]), 0.0)
    assert linter.stats.num_prompts == 2


def test_many_conversations_of_one_app_are_each_followed(linter):
    firsts = [call(SYSTEM, user(f"task {number}")) for number in range(100)]
    seconds = [call(SYSTEM, user(f"task {number}"), *step(number)) for number in range(100)]
    assert steps_of(linter, *firsts, *seconds) == [Step.NEW] * 100 + [Step.EXTENDS] * 100


def test_a_session_with_a_huge_name_is_followed_and_named_shortly(linter):
    name = "n" * 10_000
    calls = [call(SYSTEM, user("go"), session=name), call(LATER_SYSTEM, user("go"), *step(1), session=name)]
    assert linter.check(calls[0], 0.0) is None
    assert len(linter.check(calls[1], 0.0).conversation) <= 64


def test_only_so_many_prompts_are_kept_of_one_session(linter):
    for number in range(200):
        linter.check(call(SYSTEM, user(f"part {number}"), session="s1"), 0.0)
    assert linter.stats.num_prompts == 64
