import json

import pytest

from turnwise.dialects.messages_tap import MessagesTap
from turnwise.types import Usage


def event(kind: str, separators=(",", ":"), **fields) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, separators=separators)}\n\n".encode()


def start(**usage) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "stop_reason": None, "usage": usage}
    return event("message_start", message=message)


def delta(kind: str, **fields) -> bytes:
    return event("content_block_delta", index=0, delta={"type": kind, **fields})


def end(stop_reason: str, **usage) -> bytes:
    return event("message_delta", delta={"stop_reason": stop_reason, "stop_sequence": None}, usage=usage)


def watch(*reads: bytes, status=200, is_stream=True) -> MessagesTap:
    """Feeds read i at time i and closes at time 100."""
    tap = MessagesTap()
    tap.on_head(status, is_stream=is_stream)
    for now, data in enumerate(reads):
        tap.feed(data, float(now))
    tap.close(100.0)
    return tap


PING = event("ping")
OPEN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
STOP = event("message_stop")


def test_a_plain_answer_gives_first_token_usage_and_stop_reason():
    tap = watch(
        start(input_tokens=9, output_tokens=0), PING, OPEN, delta("text_delta", text="Hi"), end("end_turn", output_tokens=3)
    )
    assert (tap.first_token_at, tap.first_visible_at, tap.finish_reason, tap.response_id) == (3.0, 3.0, "end_turn", "msg_1")
    assert tap.usage == Usage(prompt_tokens=9, completion_tokens=3)


@pytest.mark.parametrize(
    "hidden", [delta("thinking_delta", thinking="hm"), delta("input_json_delta", partial_json='{"type":"text_delta"')]
)
def test_thinking_and_tool_arguments_are_tokens_but_not_visible(hidden):
    tap = watch(OPEN, hidden, hidden, delta("text_delta", text="Hi"), delta("text_delta", text="!"))
    assert (tap.first_token_at, tap.first_visible_at) == (1.0, 3.0)
    only_hidden = watch(OPEN, hidden, end("tool_use", output_tokens=1))
    assert (only_hidden.first_token_at, only_hidden.first_visible_at, only_hidden.finish_reason) == (1.0, None, "tool_use")


@pytest.mark.parametrize(
    "empty",
    [
        delta("text_delta", text=""),
        delta("thinking_delta", thinking=""),
        delta("signature_delta", signature="s"),
        delta("new_delta"),
    ],
)
def test_a_signature_and_empty_text_are_no_tokens(empty):
    assert watch(OPEN, empty).first_token_at is None


def test_a_tool_without_arguments_is_a_token():
    assert watch(OPEN, delta("input_json_delta", partial_json="")).first_token_at == 1.0


INPUT, READ, CREATED = "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        ({INPUT: 111}, {INPUT: 15, READ: 96}, Usage(111, 2, 96)),
        ({INPUT: 120}, {INPUT: 24, CREATED: 96, READ: 0}, Usage(120, 2, 0)),
        ({INPUT: 10, READ: 90, CREATED: 5}, {}, Usage(105, 2, 90)),
        ({INPUT: 15, CREATED: 96}, {INPUT: 15, READ: 96}, Usage(111, 2, 96)),
        ({INPUT: 0}, {INPUT: 7}, Usage(7, 2)),
        ({INPUT: 0}, {}, None),
        ({INPUT: 9, READ: None}, {INPUT: None}, Usage(9, 2)),
    ],
)
def test_the_whole_prompt_is_counted_and_the_last_that_tells_of_it_wins(first, last, usage):
    tap = watch(start(**first, output_tokens=0), delta("text_delta", text="Hi"), end("end_turn", **last, output_tokens=2))
    assert tap.usage == usage


def test_a_stream_that_breaks_off_leaves_what_its_start_told():
    assert watch(start(input_tokens=9, output_tokens=0), delta("text_delta", text="H")).usage == Usage(9, 0)


def test_spaced_json_is_understood():
    last = event(
        "message_delta", (", ", ": "), delta={"stop_reason": "max_tokens"}, usage={"input_tokens": 3, "output_tokens": 2}
    )
    tap = watch(delta("text_delta", text="Hi"), last)
    assert (tap.finish_reason, tap.usage) == ("max_tokens", Usage(3, 2))


def test_text_that_talks_of_events_is_none():
    text = '"message_delta" {"type":"message_delta","delta":{"stop_reason":"x"},"usage":{"input_tokens":1}}'
    tap = watch(delta("text_delta", text="Hi"), delta("text_delta", text=text), STOP)
    assert (tap.usage, tap.finish_reason) == (None, None)


def test_a_whole_answer_is_read_when_it_is_complete():
    usage = {"input_tokens": 15, "output_tokens": 3, "cache_read_input_tokens": 96}
    body = {"id": "msg_1", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": usage}
    raw = json.dumps(body).encode()
    tap = watch(raw[:20], raw[20:], is_stream=False)
    assert (tap.first_token_at, tap.first_visible_at, tap.finish_reason) == (100.0, 100.0, "end_turn")
    assert tap.usage == Usage(111, 3, 96)


@pytest.mark.parametrize(
    "content", [[], None, [{"type": "text", "text": ""}], [{"type": "thinking", "thinking": "hm"}, {"type": "tool_use"}]]
)
def test_a_whole_answer_without_text_shows_nothing(content):
    tap = watch(json.dumps({"content": content, "stop_reason": "tool_use"}).encode(), is_stream=False)
    assert (tap.first_token_at, tap.first_visible_at, tap.finish_reason) == (100.0, None, "tool_use")


@pytest.mark.parametrize("is_stream", [True, False])
def test_errors_and_empty_answers_have_no_facts(is_stream):
    answer = start(input_tokens=9) + delta("text_delta", text="Hi")
    for tap in (watch(answer, status=400, is_stream=is_stream), watch(is_stream=is_stream)):
        assert (tap.usage, tap.first_token_at, tap.first_visible_at, tap.finish_reason) == (None, None, None, None)
