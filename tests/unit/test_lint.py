"""What is a break and what is not, call by call; seeded conversations are in tests/property/test_lint_seeds.py."""

import pytest
from tests.unit.lint_calls import LATER_SYSTEM, PENDING, SYSTEM, TITLE, TOOLS, call, lesson, step, steps_of, user

from turnwise.index import Lesson
from turnwise.proxy.lint import ADVICE, Cause, Linter, Step
from turnwise.settings import LintSettings
from turnwise.types import SegmentKind, Usage


@pytest.fixture
def linter():
    return Linter(LintSettings(), bytes_per_token=4.0)


def causes_of(linter, *calls):
    findings = [linter.check(one, now=float(number)) for number, one in enumerate(calls)]
    return [None if finding is None else finding.cause for finding in findings]


# What is no break.


def test_a_conversation_that_grows_is_followed_and_raises_nothing(linter):
    turns = [SYSTEM, user("go"), *step(1), *step(2)]
    assert steps_of(linter, call(*turns[:2]), call(*turns[:4]), call(*turns)) == [Step.NEW, Step.EXTENDS, Step.EXTENDS]


def test_a_retry_of_the_same_prompt_goes_on_with_it(linter):
    once = call(SYSTEM, user("go"))
    assert steps_of(linter, once, once) == [Step.NEW, Step.EXTENDS]


@pytest.mark.parametrize("session", [None, "s1"])
def test_two_branches_of_one_prefix_are_no_break_and_each_is_followed(linter, session):
    head = [SYSTEM, user("go"), *step(1)]
    calls = [call(*head, *more, session=session) for more in (step(2), step(3), [*step(2), *step(4)], [*step(3), *step(5)])]
    assert steps_of(linter, *calls) == [Step.NEW, Step.NEW, Step.EXTENDS, Step.EXTENDS]


def test_going_back_to_an_earlier_turn_is_no_break(linter):
    turns = [SYSTEM, user("go"), *step(1), *step(2), *step(3)]
    assert causes_of(linter, call(*turns), call(*turns[:4]), call(*turns[:4], user("other"))) == [None] * 3


def test_a_title_that_is_asked_for_in_the_same_session_is_no_break(linter):
    turns = [SYSTEM, user("go"), *step(1), *step(2)]
    calls = [
        call(*turns[:2], session="s1", tools=TOOLS),
        call(TITLE, user("go"), user("Title?"), session="s1"),
        call(*turns[:4], session="s1", tools=TOOLS),
        call(TITLE, user("go"), user("Title?"), session="s1"),
        call(*turns, session="s1", tools=TOOLS),
    ]
    assert causes_of(linter, *calls) == [None] * 5


def test_sub_agents_with_one_session_and_head_are_no_break(linter):
    mains = [call(SYSTEM, user("go"), *step(1)[: 2 * more], session="s1") for more in (0, 1)]
    subs = [call(SYSTEM, user(f"Look at part {part}"), *step(part + 7), session="s1") for part in range(3)]
    assert causes_of(linter, mains[0], *subs, mains[1]) == [None] * 5


def test_another_user_who_begins_with_the_same_words_under_a_newer_date_is_no_break(linter):
    assert causes_of(linter, call(SYSTEM, user("hi")), call(LATER_SYSTEM, user("hi"))) == [None, None]


def test_a_fan_out_over_numbered_items_in_one_session_is_no_break(linter):
    calls = [call(SYSTEM, user(f"Summarise chapter {number}"), session="s1") for number in range(4)]
    assert causes_of(linter, *calls) == [None] * 4


def test_short_answers_that_agree_by_chance_do_not_make_two_conversations_one(linter):
    done = {"role": "assistant", "content": "Done."}
    calls = [call(SYSTEM, user("go"), user(text), done, user("and now?")) for text in ("first", "second")]
    assert causes_of(linter, *calls) == [None, None]


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/v1/responses", {"previous_response_id": "resp_1"}), ("/v1/completions", {"prompt": "bare"}), ("/v1/embeddings", {})],
)
def test_a_call_without_its_turns_is_ignored(linter, path, fields):
    assert steps_of(linter, call(user("go"), path=path, **fields)) == [Step.IGNORED]


def test_a_prompt_without_a_user_turn_is_followed_by_its_session_only(linter):
    turns = [SYSTEM, *step(1)]
    assert steps_of(linter, call(*turns), call(*turns, session="s1")) == [Step.IGNORED, Step.NEW]


# What is one.


def test_a_finding_says_where_the_prompts_part_and_what_that_cost(linter):
    earlier, later = call(SYSTEM, user("go"), tools=TOOLS), call(LATER_SYSTEM, user("go"), *step(1), tools=TOOLS)
    assert linter.check(earlier, 0.0, Usage(100, 5)) is None
    finding = linter.check(later, 1.0, Usage(150, 5))
    tools, system, _ = map(bytes, earlier.prompt.raws)
    assert (finding.cause, finding.segment, finding.kind) == (Cause.TIMESTAMP_IN_SYSTEM, 1, SegmentKind.SYSTEM)
    assert finding.segment_byte == system.index(b"12:00") + 4
    assert finding.prompt_byte == len(tools) + finding.segment_byte
    size = earlier.chain.num_bytes
    assert finding.tokens_lost == round(100 * (size - finding.prompt_byte) / size)
    assert finding.conversation
    assert "go" not in finding.conversation


def test_no_more_is_lost_than_the_engine_had_to_compute(linter):
    linter.check(call(SYSTEM, user("go")), 0.0, Usage(1000, 5))
    finding = linter.check(call(LATER_SYSTEM, user("go"), *step(1)), 1.0, Usage(1100, 5, cached_tokens=1090))
    assert finding.tokens_lost == 10


def test_a_cause_that_repeats_within_a_minute_is_marked_so_and_counted_all_the_same(linter):
    turns = [user("go"), *step(1), *step(2), *step(3), *step(4)]
    systems = [{**SYSTEM, "content": f"{SYSTEM['content']}:{second:02}"} for second in range(4)]
    calls = [call(system, *turns[: 1 + 2 * number]) for number, system in enumerate(systems)]
    findings = [linter.check(one, now) for one, now in zip(calls, (0.0, 10.0, 20.0, 75.0), strict=True)]
    assert [finding and finding.is_repeated for finding in findings] == [None, False, True, False]


def test_a_conversation_that_broke_once_is_stable_under_its_new_form(linter):
    turns = [user("go"), *step(1), *step(2), *step(3)]
    calls = [call(SYSTEM, *turns[:3]), call(LATER_SYSTEM, *turns[:5]), call(LATER_SYSTEM, *turns)]
    assert causes_of(linter, *calls) == [None, Cause.TIMESTAMP_IN_SYSTEM, None]


def test_the_same_turns_over_another_api_are_a_break(linter):
    answer = {"role": "assistant", "content": "A long enough answer to tell this conversation from all the others."}
    turns = [user("go"), answer, user("more")]
    calls = [call(*turns, session="s1"), call(*turns, answer, user("x"), session="s1", path="/v1/responses")]
    assert causes_of(linter, *calls) == [None, Cause.API_CHANGED]


def test_turns_repeated_under_another_head_are_a_break_once(linter):
    """A final answer asked for under another system prompt, as one framework does; the next one goes on from there."""
    turns = [user("go"), *step(1), *step(2)]
    calls = [
        call(SYSTEM, *turns, tools=TOOLS, tool_choice="required"),
        call(TITLE, *turns, user("Answer")),
        call(SYSTEM, *turns, *step(3), tools=TOOLS, tool_choice="required"),
        call(TITLE, *turns, *step(3), user("Answer")),
    ]
    assert causes_of(linter, *calls) == [None, Cause.TEMPLATE_ARGUMENTS, None, None]


def test_a_window_that_drops_the_first_user_turn_is_found_without_a_session(linter):
    turns = [user("go"), *step(1), *step(2), *step(3)]
    assert causes_of(linter, call(SYSTEM, *turns), call(SYSTEM, *turns[3:], user("on"))) == [None, Cause.TRUNCATED_HISTORY]


def test_a_reasoning_item_that_is_left_out_is_dropped_reasoning(linter):
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm " * 20}]}
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "I look at the files first, then at the tests."}]}
    calls = [
        call(user("go"), thought, said, user("more"), path="/v1/responses"),
        call(user("go"), said, user("more"), path="/v1/responses"),
    ]
    assert causes_of(linter, *calls) == [None, Cause.DROPPED_REASONING]


def test_a_change_within_a_huge_turn_is_placed_in_the_piece_that_differs(linter):
    long = "x" * 20_000
    turns = [SYSTEM, user("go"), *step(1, result=long + "cut" + long), *step(2)]
    changed = [SYSTEM, user("go"), *step(1, result=long + "CUT" + long), *step(2), *step(3)]
    linter.check(call(*turns), 0.0)
    finding = linter.check(call(*changed), 1.0)
    later = call(*changed)
    assert (finding.cause, finding.kind) == (Cause.EDITED_TOOL_RESULT, SegmentKind.TOOL)
    assert bytes(later.prompt.raws[finding.segment])[finding.segment_byte :].startswith(b"CUT")


# What only the engine's template can have done.


@pytest.mark.parametrize(
    ("broke_at", "fields", "cause"),
    [
        (0, {}, Cause.TEMPLATE_DATE_OR_HEAD),
        (1, {}, Cause.TEMPLATE_DATE_OR_HEAD),
        (3, {"reasoning_content": "hm"}, Cause.TEMPLATE_DROPS_REASONING),
        (4, {"reasoning_content": "hm"}, Cause.TEMPLATE_DROPS_REASONING),
        (2, {}, Cause.TEMPLATE_REORDERS),
        (99, {}, Cause.TEMPLATE_REORDERS),
    ],
)
def test_equal_bytes_whose_tokens_part_are_laid_to_the_template(linter, broke_at, fields, cause):
    turns = [SYSTEM, user("go"), *step(1, **fields), *step(2)]
    linter.check(call(*turns[:4], tools=TOOLS), 0.0, parted=Lesson(is_taught=True))
    followed = linter.follow(call(*turns, tools=TOOLS), 1.0, parted=lesson(broke_at))
    assert (followed.step, followed.finding.cause, followed.finding.tokens_lost) == (Step.BREAKS, cause, 64)
    assert followed.finding.segment < 7


def test_a_lesson_that_comes_late_is_compared_with_the_prompt_that_was_there_before(linter):
    turns = [SYSTEM, user("go"), *step(1, reasoning_content="hm"), *step(2)]
    linter.check(call(*turns[:4], tools=TOOLS), 0.0, parted=Lesson(is_taught=True))
    later = call(*turns, tools=TOOLS)
    assert linter.check(later, 1.0, parted=PENDING) is None
    linter.check(call(*turns, *step(3), tools=TOOLS), 2.0)
    finding = linter.check_late(later.call_id, lesson(3), 3.0)
    assert (finding.cause, finding.tokens_lost) == (Cause.TEMPLATE_DROPS_REASONING, 64)
    assert linter.check_late(later.call_id, lesson(3), 3.0) is None


def test_a_late_lesson_of_a_call_that_taught_nothing_new_or_that_nobody_remembers_is_no_finding(linter):
    assert linter.check_late("nobody", lesson(3), 0.0) is None
    linter.check(call(SYSTEM, user("go")), 0.0)
    later = call(SYSTEM, user("go"), *step(1))
    linter.check(later, 1.0, parted=PENDING)
    assert linter.check_late(later.call_id, Lesson(is_taught=True), 2.0) is None


def test_a_prompt_whose_bytes_broke_is_laid_to_its_bytes(linter):
    linter.check(call(SYSTEM, user("go")), 0.0)
    finding = linter.check(call(LATER_SYSTEM, user("go"), *step(1)), 1.0, parted=lesson(0))
    assert finding.cause is Cause.TIMESTAMP_IN_SYSTEM


def test_every_cause_says_what_it_means_and_what_helps():
    assert set(ADVICE) == set(Cause)
    assert all(advice.meaning.endswith(".") and advice.remedy.endswith(".") for advice in ADVICE.values())
