"""Predicted runs: bounds, order of loss, age, lengths, correction."""

import tracemalloc

import pytest
import xxhash

from turnwise.index.capacity import Capacity
from turnwise.index.predicted import MAX_SEGMENTS, PredictedRuns
from turnwise.types import PromptChain

ROOMY = 10_000


def prompt(*segments, num_bytes=()):
    """The chain of a prompt; a segment has 10 bytes unless `num_bytes` says otherwise."""
    sizes = num_bytes or [10] * len(segments)
    return PromptChain(
        digests=tuple("/".join(segments[: end + 1]).encode() for end in range(len(segments))),
        ends=tuple(sum(sizes[: end + 1]) for end in range(len(segments))),
    )


SYS, A, AA, B = (prompt(*path.split()) for path in ("sys", "sys a", "sys a aa", "sys b"))


def held(runs, chain, since=0.0):
    return runs.tokens_since(chain, since)


@pytest.fixture
def runs():
    return PredictedRuns(Capacity(None, ROOMY))


def test_what_was_booked_is_held_up_to_the_last_shared_segment(runs):
    runs.book(prompt("sys", "a", "b", num_bytes=[100, 50, 30]), 180, now=1.0)
    assert held(runs, prompt("sys", "a", "b", "c", num_bytes=[100, 50, 30, 5])) == 180
    assert held(runs, prompt("sys", "a", "x", num_bytes=[100, 50, 30])) == 150
    assert held(runs, prompt("sys", "y", num_bytes=[100, 50])) == 100
    assert held(runs, prompt("sys", num_bytes=[100])) == 100
    assert held(runs, prompt("other")) == 0


def test_what_is_shared_counts_once(runs):
    runs.book(prompt("sys", "a", num_bytes=[100, 50]), 150, now=1.0)
    runs.book(prompt("sys", "b", num_bytes=[100, 70]), 170, now=2.0)
    assert (runs.num_tokens, runs.num_segments) == (220, 3)


def test_a_session_is_one_run_that_grows_and_is_split_where_another_prompt_parts(runs):
    segments = [f"s{number}" for number in range(100)]
    for end in range(1, 101):
        runs.book(prompt(*segments[:end]), 10 * end, now=float(end))
        runs.settle(prompt(*segments[:end]), 10 * end, None, now=end + 0.5)
    assert len(runs.heads) == 1
    runs.book(prompt(*segments[:40], "else"), 410, now=101.0)
    assert len(runs.heads) == 3
    runs.book(prompt(*segments, "more"), 1010, now=102.0)
    assert len(runs.heads) == 3
    assert held(runs, prompt(*segments, "more")) == 1010
    assert held(runs, prompt(*segments[:40], "else")) == 410


def test_past_its_tokens_the_oldest_prompt_goes_tail_first():
    runs = PredictedRuns(Capacity(None, 250))
    first = prompt("sys", "a", "aa", num_bytes=[100, 50, 50])
    second = prompt("sys", "b", num_bytes=[100, 60])
    third = prompt("sys", "c", num_bytes=[100, 90])
    runs.book(first, 200, now=1.0)
    runs.book(second, 160, now=2.0)
    assert held(runs, first) == 190
    assert held(runs, second) == 160
    runs.book(third, 190, now=3.0)
    assert held(runs, first) == 100
    assert held(runs, second) == 160
    assert runs.num_tokens == 250


def test_a_prompt_larger_than_the_cache_keeps_its_head():
    runs = PredictedRuns(Capacity(None, 120))
    chain = prompt("sys", "a", "b", num_bytes=[100, 50, 30])
    runs.book(chain, 180, now=1.0)
    assert held(runs, chain) == 120


def test_age_is_told_by_segment(runs):
    runs.book(A, 150, now=1.0)
    runs.book(SYS, 75, now=9.0)
    assert held(runs, A, since=1.0) == 150
    assert held(runs, A, since=5.0) == 75
    assert held(runs, A, since=10.0) == 0


def test_a_prompt_that_ends_within_another_outlives_its_tail():
    runs = PredictedRuns(Capacity(None, 30))
    runs.book(AA, 30, now=1.0)
    runs.book(SYS, 10, now=2.0)
    runs.book(prompt("x"), 10, now=3.0)
    runs.book(prompt("y"), 10, now=4.0)
    assert held(runs, AA) == 10
    runs.book(prompt("z"), 10, now=5.0)
    assert (held(runs, AA), runs.num_tokens) == (0, 30)


def test_a_sweep_drops_what_expired_a_slice_at_a_time(runs):
    chain = prompt("a", "b", "c")
    runs.book(chain, 30, now=1.0)
    runs.book(prompt("d"), 10, now=5.0)
    assert runs.sweep(before=5.0, max_segments=2) == 0
    assert held(runs, chain) == 10
    assert runs.sweep(before=5.0, max_segments=2) == 1
    assert (runs.num_tokens, runs.num_segments) == (10, 1)


def test_the_number_of_segments_is_bounded_whatever_their_tokens():
    runs = PredictedRuns(Capacity(None, 10**12))
    digests = tuple(number.to_bytes(4, "big") for number in range(MAX_SEGMENTS + 100))
    runs.book(PromptChain(digests=digests, ends=tuple(range(1, len(digests) + 1))), len(digests), now=1.0)
    assert runs.num_segments == MAX_SEGMENTS


def test_an_answer_replaces_estimated_lengths(runs):
    runs.book(A, 150, now=1.0)
    runs.settle(A, 200, None, now=2.0)
    assert (held(runs, A), held(runs, SYS), runs.num_tokens) == (200, 100, 200)


def test_what_an_answer_counted_stays_when_the_prompt_grows(runs):
    runs.book(SYS, 40, now=1.0)
    runs.settle(SYS, 50, None, now=2.0)
    runs.book(AA, 90, now=3.0)
    runs.settle(AA, 250, None, now=4.0)
    assert [held(runs, chain) for chain in (SYS, A, AA)] == [50, 150, 250]


def test_lengths_known_beforehand_hold_within_a_prompt(runs):
    runs.book(AA, 90, now=1.0, anchors=((0, 50), (1, 60)))
    assert [held(runs, chain) for chain in (SYS, A, AA)] == [50, 60, 90]


def test_what_two_prompts_share_is_measured_by_the_first_count_and_then_stays(runs):
    runs.book(A, 20, now=1.0)
    runs.book(B, 20, now=2.0)
    assert held(runs, SYS) == 10
    runs.settle(A, 60, None, now=3.0)
    assert [held(runs, chain) for chain in (SYS, A)] == [30, 60]
    runs.settle(B, 90, None, now=4.0)
    assert [held(runs, chain) for chain in (SYS, A, B)] == [30, 60, 90]
    assert runs.num_tokens == 120


@pytest.mark.parametrize(("counted", "expected"), [(30, [25, 30, 50]), (70, [35, 70, 70]), (5, [2, 5, 50])])
def test_lengths_that_contradict_one_another_never_fall_along_a_prompt(runs, counted, expected):
    runs.book(A, 40, now=1.0)
    runs.book(SYS, 25, now=1.5)
    runs.book(AA, 50, now=2.0)
    runs.settle(A, counted, None, now=3.0)
    found = [held(runs, chain) for chain in (SYS, A, AA)]
    assert found[1:] == expected[1:]
    assert runs.num_tokens == sum(run.size for run in runs.heads.values())


@pytest.mark.parametrize("cached_tokens", [0, 96])
def test_one_report_of_a_loss_drops_nothing_that_others_had_sent(runs, cached_tokens):
    first = prompt("sys", "a", "aa", num_bytes=[100, 50, 50])
    second = prompt("sys", "b", num_bytes=[100, 40])
    runs.book(first, 200, now=1.0)
    runs.settle(first, 200, None, now=2.0)
    runs.book(second, 140, now=3.0)
    runs.settle(second, 140, cached_tokens, now=4.0)
    assert (held(runs, first), held(runs, second)) == (200, 140)


@pytest.mark.parametrize(("num_segments", "max_bytes"), [(1, 900), (3, 360), (200, 110)])
def test_memory_is_bounded_by_segments(num_segments, max_bytes):
    prompts = []
    for session in range(9000 // num_segments):
        digests = tuple(xxhash.xxh3_128_digest(b"%d %d" % (session, at)) for at in range(num_segments))
        prompts.append(PromptChain(digests=digests, ends=tuple(range(1000, 1000 * (num_segments + 1), 1000))))
    runs = PredictedRuns(Capacity(None, 10**12))
    tracemalloc.start()
    try:
        for chain in prompts:
            runs.book(chain, 100 * num_segments, now=1.0)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    digest_and_end_bytes = 49 + 32
    assert taken / runs.num_segments + digest_and_end_bytes <= max_bytes
