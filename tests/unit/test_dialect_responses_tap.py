import json

import pytest

from turnwise.dialects.responses_tap import ResponsesTap
from turnwise.types import Usage

USAGE = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 3, "total_tokens": 12}
ANSWER = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}


def event(kind: str, separators=(",", ":"), **fields) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, separators=separators)}\n\n".encode()


def response(status: str, **fields) -> dict:
    return {"id": "resp_1", "object": "response", "status": status, "usage": None, "output": [], **fields}


def watch(*reads: bytes, status=200, is_stream=True) -> ResponsesTap:
    """Feeds read i at time i and closes at time 100."""
    tap = ResponsesTap()
    tap.on_head(status, is_stream=is_stream)
    for now, data in enumerate(reads):
        tap.feed(data, float(now))
    tap.close(100.0)
    return tap


CREATED = event("response.created", response=response("in_progress"), sequence_number=0)
TEXT = event("response.output_text.delta", delta="Hi", item_id="msg_1", output_index=0, content_index=0, logprobs=[])
DONE = event("response.completed", response=response("completed", usage=USAGE, output=[ANSWER]))


def test_a_plain_answer_gives_id_first_token_usage_and_status():
    tap = watch(CREATED, event("response.in_progress", response=response("in_progress")), TEXT, TEXT, DONE)
    assert (tap.first_token_at, tap.first_visible_at, tap.finish_reason, tap.response_id) == (2.0, 2.0, "completed", "resp_1")
    assert tap.usage == Usage(prompt_tokens=9, completion_tokens=3, cached_tokens=4)


def test_the_id_is_known_as_soon_as_the_replica_says_it():
    tap = watch(CREATED)
    assert (tap.response_id, tap.finish_reason, tap.first_token_at) == ("resp_1", None, None)


@pytest.mark.parametrize(
    "kind",
    [
        "response.reasoning_text.delta", "response.reasoning_summary_text.delta", "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta", "response.mcp_call_arguments.delta", "response.refusal.delta",
    ],
)  # fmt: skip
def test_reasoning_and_tool_arguments_are_tokens_but_not_visible(kind):
    hidden = event(kind, delta='{"type":"response.output_text.delta"')
    tap = watch(CREATED, hidden, hidden, TEXT)
    assert (tap.first_token_at, tap.first_visible_at) == (1.0, 3.0)
    assert watch(CREATED, event(kind, delta="")).first_token_at is None


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        (
            "response.incomplete",
            response("incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "max_output_tokens",
        ),
        ("response.incomplete", response("incomplete", incomplete_details={}), "incomplete"),
        ("response.failed", response("failed", incomplete_details=None), "failed"),
        ("response.cancelled", response("cancelled"), "cancelled"),
    ],
)
def test_an_answer_that_does_not_complete_says_why(kind, fields, reason):
    tap = watch(CREATED, TEXT, event(kind, response={**fields, "usage": USAGE}))
    assert (tap.finish_reason, tap.usage.completion_tokens) == (reason, 3)


def test_unknown_events_and_errors_are_passed_over():
    odd = (
        event("response.of_tomorrow", delta=None), event("error", error={"message": "x"}), event("keepalive.delta", delta="x"),
        event("response.output_item.done", item=ANSWER), b"data: [DONE]\n\n",
    )  # fmt: skip
    tap = watch(CREATED, *odd, TEXT, *odd, DONE)
    assert (tap.first_token_at, tap.finish_reason) == (6.0, "completed")


def test_spaced_json_is_understood():
    done = event("response.completed", (", ", ": "), response=response("completed", usage=USAGE))
    assert watch(TEXT, done).usage == Usage(9, 3, 4)


def test_text_that_talks_of_events_is_none():
    talk = event("response.output_text.delta", delta=DONE.decode())
    assert watch(TEXT, talk).usage is None


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": "9"}, {"input_tokens": 9, "input_tokens_details": 4}, []])
def test_usage_of_another_shape_is_none_and_spoils_nothing(usage):
    tap = watch(TEXT, event("response.completed", response=response("completed", usage=usage)))
    assert (tap.usage, tap.finish_reason, tap.response_id) == (None, "completed", "resp_1")


def test_an_engine_that_does_not_say_what_it_had_cached_leaves_that_open():
    usage = {"input_tokens": 9, "output_tokens": 3}
    assert watch(event("response.completed", response=response("completed", usage=usage))).usage == Usage(9, 3)


def test_a_whole_answer_is_read_when_it_is_complete():
    raw = json.dumps(response("completed", usage=USAGE, output=[{"type": "reasoning", "summary": []}, ANSWER])).encode()
    tap = watch(raw[:20], raw[20:], is_stream=False)
    assert (tap.first_token_at, tap.first_visible_at, tap.finish_reason, tap.response_id) == (
        100.0,
        100.0,
        "completed",
        "resp_1",
    )
    assert tap.usage == Usage(9, 3, 4)


@pytest.mark.parametrize("output", [[], None, [{"type": "function_call"}], [{"type": "message", "content": []}], "odd"])
def test_a_whole_answer_without_text_shows_nothing(output):
    tap = watch(json.dumps(response("completed", output=output)).encode(), is_stream=False)
    assert (tap.first_token_at, tap.first_visible_at, tap.finish_reason) == (100.0, None, "completed")


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_an_answer_in_the_background_has_an_id_and_no_token_yet(status):
    tap = watch(json.dumps(response(status)).encode(), is_stream=False)
    assert (tap.response_id, tap.first_token_at, tap.finish_reason, tap.usage) == ("resp_1", None, None, None)


@pytest.mark.parametrize("is_stream", [True, False])
def test_errors_and_empty_answers_have_no_facts(is_stream):
    for tap in (watch(CREATED + TEXT + DONE, status=404, is_stream=is_stream), watch(is_stream=is_stream)):
        assert (tap.usage, tap.first_token_at, tap.response_id, tap.finish_reason) == (None, None, None, None)
