import json

import pytest

from turnwise.dialects.lines import MAX_LINE_BYTES
from turnwise.dialects.openai_tap import GenerationTap
from turnwise.dialects.tap import MAX_DOCUMENT_BYTES, MAX_UNREAD, MAX_UNREAD_BYTES
from turnwise.types import Usage

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}}


def event(payload, separators=(",", ":")) -> bytes:
    return b"data: " + json.dumps(payload, separators=separators).encode() + b"\n\n"


def delta(finish_reason=None, **fields) -> bytes:
    return event({"id": "c", "choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]})


def watch(*reads: bytes, status=200, is_stream=True) -> GenerationTap:
    """Feeds read i at time i and closes at time 100."""
    tap = GenerationTap()
    tap.on_head(status, is_stream=is_stream)
    for now, data in enumerate(reads):
        tap.feed(data, float(now))
    tap.close(100.0)
    return tap


ROLE = delta(role="assistant", content="")
END = delta("stop") + event({"id": "c", "choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"


def test_a_plain_answer_gives_first_token_usage_and_finish_reason():
    tap = watch(b": keep-alive\n\n", ROLE, delta(content="Hi"), delta(content=" you"), END)
    assert (tap.first_token_at, tap.first_visible_at, tap.finish_reason) == (2.0, 2.0, "stop")
    assert tap.usage == Usage(prompt_tokens=9, completion_tokens=3, cached_tokens=4)


@pytest.mark.parametrize(
    "hidden",
    [
        {"reasoning": "hm"},
        {"reasoning_content": "hm", "content": None},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"content": "text"}'}}]},
        {"function_call": {"name": "f"}},
    ],
)
def test_reasoning_and_tool_arguments_are_tokens_but_not_visible(hidden):
    tap = watch(ROLE, delta(**hidden), delta(**hidden), delta(content="Hi"), END)
    assert (tap.first_token_at, tap.first_visible_at) == (1.0, 3.0)
    only_hidden = watch(ROLE, delta(**hidden), delta("tool_calls"))
    assert (only_hidden.first_token_at, only_hidden.first_visible_at, only_hidden.finish_reason) == (1.0, None, "tool_calls")


def test_what_comes_after_the_first_text_is_known_whenever_somebody_asks():
    tap = GenerationTap()
    tap.on_head(200, is_stream=True)
    tap.feed(delta(content="Hi"), 1.0)
    for num_reads in range(1, 3 * MAX_UNREAD):
        usage = {"prompt_tokens": 9, "completion_tokens": num_reads}
        tap.feed(event({"choices": [{"delta": {"content": "x"}, "finish_reason": f"r{num_reads}"}], "usage": usage}), 2.0)
        if num_reads % 5 == 0:
            assert (tap.usage, tap.finish_reason) == (Usage(9, num_reads, None), f"r{num_reads}")
    assert (tap.first_token_at, tap.first_visible_at) == (1.0, 1.0)


def test_reads_put_by_are_read_before_a_later_read_that_is_cut_or_large():
    for later in (delta("last")[:-1], delta("last", content="x" * MAX_UNREAD_BYTES)):
        tap = watch(delta(content="Hi"), delta("first", content="x"), later, b"\n")
        assert tap.finish_reason == "last"


def test_no_more_than_a_few_reads_are_put_by():
    tap = GenerationTap()
    tap.on_head(200, is_stream=True)
    tap.feed(delta(content="Hi"), 1.0)
    sizes = set()
    for _ in range(4 * MAX_UNREAD):
        tap.feed(delta(content="x"), 2.0)
        sizes.add(len(tap._unread))
    assert max(sizes) < MAX_UNREAD


def test_completions_text_is_visible():
    tap = watch(event({"choices": [{"text": "", "finish_reason": None}]}), event({"choices": [{"text": "a"}]}))
    assert (tap.first_token_at, tap.first_visible_at) == (1.0, 1.0)


def test_an_event_counts_when_the_read_that_completes_it_comes():
    whole = ROLE + delta(content="Hi")
    assert watch(whole[:-9], whole[-9:-2], whole[-2:]).first_token_at == 2.0


def test_the_last_of_continuous_usage_holds():
    first = event({"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})
    assert watch(first).usage == Usage(prompt_tokens=9, completion_tokens=1)
    assert watch(first, END).usage.completion_tokens == 3


def test_spaced_json_is_understood():
    spaced = event({"choices": [{"delta": {"content": "a"}, "finish_reason": "length"}], "usage": USAGE}, (", ", ": "))
    tap = watch(delta(content="x"), spaced)
    assert (tap.finish_reason, tap.usage.cached_tokens) == ("length", 4)


def test_text_that_talks_of_usage_is_not_usage():
    assert watch(delta(content='"usage":{"prompt_tokens":1} "finish_reason":"stop"')).usage is None


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], {"prompt_tokens": None}, {"prompt_tokens": "9"}, {"prompt_tokens": 9, "prompt_tokens_details": 4}],
)
def test_usage_of_another_shape_is_none_and_spoils_nothing(usage):
    tap = watch(event({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}], "usage": usage}))
    assert (tap.usage, tap.finish_reason, tap.first_visible_at) == (None, "stop", 0.0)


def test_an_engine_that_does_not_say_what_it_had_cached_leaves_that_open():
    for details in (None, {}, {"cached_tokens": None}):
        usage = {"prompt_tokens": 9, "completion_tokens": 0, "prompt_tokens_details": details}
        assert watch(event({"choices": [], "usage": usage})).usage == Usage(prompt_tokens=9, completion_tokens=0)


def test_a_whole_answer_is_read_when_it_is_complete():
    choice = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": USAGE}).encode()
    tap = watch(body[:20], body[20:], is_stream=False)
    assert (tap.first_token_at, tap.first_visible_at, tap.finish_reason) == (100.0, 100.0, "stop")
    assert tap.usage == Usage(prompt_tokens=9, completion_tokens=3, cached_tokens=4)


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], 5, {"prompt_tokens": None}, {"prompt_tokens": "9"}, {"prompt_tokens": 9, "prompt_tokens_details": 4}],
)
def test_usage_of_another_shape_spoils_no_other_fact_of_a_whole_answer(usage):
    choice = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    tap = watch(json.dumps({"choices": [choice], "usage": usage}).encode(), is_stream=False)
    assert (tap.usage, tap.first_visible_at, tap.finish_reason) == (None, 100.0, "stop")


@pytest.mark.parametrize("choice", [{"message": {"content": None, "tool_calls": [{}]}}, {"text": ""}, {"message": {}}])
def test_a_whole_answer_without_text_shows_nothing(choice):
    tap = watch(json.dumps({"choices": [choice]}).encode(), is_stream=False)
    assert (tap.first_token_at, tap.first_visible_at) == (100.0, None)


def test_a_whole_answer_beyond_the_bound_has_no_usage_and_is_not_kept():
    tap = GenerationTap()
    tap.on_head(200, is_stream=False)
    for _ in range(MAX_DOCUMENT_BYTES // 65536 + 1):
        tap.feed(b" " * 65536, 0.0)
    tap.feed(json.dumps({"usage": USAGE}).encode(), 0.0)
    assert not tap._held
    tap.close(1.0)
    assert (tap.usage, tap.first_token_at) == (None, 1.0)


def test_a_line_beyond_the_bound_is_passed_over_and_the_next_is_read_again():
    tap = watch(b'data: {"x":"' + b"y" * MAX_LINE_BYTES, b"z" * 10, b'"}\n\n' + delta(content="Hi"), END)
    assert (tap.first_visible_at, tap.finish_reason) == (2.0, "stop")


@pytest.mark.parametrize("is_stream", [True, False])
def test_errors_and_empty_answers_have_no_facts(is_stream):
    for tap in (watch(END, status=400, is_stream=is_stream), watch(is_stream=is_stream)):
        assert (tap.usage, tap.first_token_at, tap.first_visible_at, tap.finish_reason) == (None, None, None, None)


def test_of_events_that_differ_in_a_piece_alone_few_are_parsed_whatever_the_first_one_looks_like():
    parsed = []

    class Counting(GenerationTap):
        def _decode(self, payload):
            parsed.append(payload)
            return super()._decode(payload)

    tap = Counting(wants_answer=True)
    tap.on_head(200, is_stream=True)
    for number in range(3 * MAX_UNREAD):
        tap.feed(delta(content=f"word {number} ", **({"role": "assistant"} if number == 0 else {})), float(number))
    tap.feed(END, 200.0)
    tap.close(200.0)
    assert tap.answer is not None
    assert len(parsed) < 10
