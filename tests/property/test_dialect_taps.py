"""The taps of messages and responses: the same facts from any split, no fact and no exception from garbage."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.dialects import DIALECTS
from turnwise.types import DialectName

TEXTS = st.sampled_from(
    ["", "Hi", "\r\n\n", '"message_delta" "response.completed"', "é\u2028", 'data: {"type":"message_delta"}']
)
COUNTS = st.sampled_from([None, 0, 7, 96])
ODD = st.sampled_from([{"type": "ping"}, {"type": "of_tomorrow", "delta": 5}, {"type": 7}, [], None, "x"])


def block_delta(kind: str, field: str):
    return st.builds(lambda text: {"type": "content_block_delta", "delta": {"type": kind, field: text}}, TEXTS)


def usages(*names: str):
    return st.fixed_dictionaries(dict.fromkeys(names, COUNTS))


MESSAGES_USAGE = usages("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
MESSAGES_EVENTS = st.one_of(
    ODD,
    block_delta("text_delta", "text"),
    block_delta("thinking_delta", "thinking"),
    block_delta("input_json_delta", "partial_json"),
    st.builds(
        lambda index, block: {"type": "content_block_start", "index": index, "content_block": block},
        st.sampled_from([0, 1, None, "x"]),
        st.sampled_from([{"type": "tool_use", "id": "t", "name": "f", "input": {}}, {"type": "tool_use"}, {}, {"type": "odd"}]),
    ),
    st.builds(
        lambda name, usage: {"type": "message_start", "message": {"id": name, "usage": usage}},
        st.sampled_from(["m", None, 7]),
        MESSAGES_USAGE,
    ),
    st.builds(
        lambda usage, reason: {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage},
        MESSAGES_USAGE,
        st.sampled_from([None, "end_turn", "tool_use"]),
    ),
)
OUTPUT = [
    {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"task": "three words of it"}'},
]
RESPONSES = st.builds(
    lambda status, usage, output: {"id": "resp_1", "status": status, "usage": usage, "output": output},
    st.sampled_from(["in_progress", "completed", "incomplete", None]),
    st.one_of(st.none(), usages("input_tokens", "output_tokens")),
    st.sampled_from([None, [], OUTPUT, OUTPUT[:1], ["odd"]]),
)
RESPONSES_DELTAS = st.builds(
    lambda kind, text: {"type": f"response.{kind}.delta", "delta": text},
    st.sampled_from(["output_text", "reasoning_text", "function_call_arguments", "custom_tool_call_input"]),
    TEXTS,
)
RESPONSES_EVENTS = st.one_of(
    ODD,
    RESPONSES_DELTAS,
    st.builds(
        lambda kind, response: {"type": f"response.{kind}", "response": response},
        st.sampled_from(["created", "in_progress", "completed", "incomplete", "failed"]),
        RESPONSES,
    ),
)
VISIBLE = {
    DialectName.MESSAGES: b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}\n\n',
    DialectName.RESPONSES: b'data: {"type":"response.output_text.delta","delta":"a"}\n\n',
}
KEYS = st.sampled_from(
    ["id", "status", "usage", "output", "content", "type", "text", "stop_reason", "input_tokens", "name", "input", "call_id"]
)
DOCUMENTS = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
EVENTS = {DialectName.MESSAGES: MESSAGES_EVENTS, DialectName.RESPONSES: RESPONSES_EVENTS}
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
NAMES = pytest.mark.parametrize("name", list(EVENTS))


def facts(name: DialectName, reads: list[bytes], *, is_stream: bool = True, wants_answer: bool = False):
    tap = DIALECTS[name].tap(wants_answer=wants_answer)
    tap.on_head(200, is_stream=is_stream)
    for data in reads:
        tap.feed(data, 1.0)
    tap.close(1.0)
    told = tap.usage, tap.first_token_at, tap.first_visible_at, tap.finish_reason, tap.response_id
    return *told, tap.first_tool_at, tap.tool_calls, tap.answer


@NAMES
@given(st.data(), LINE_ENDS, st.sampled_from([(",", ":"), (", ", ": ")]), st.lists(st.integers(0, 5000), max_size=30))
def test_the_tap_learns_the_same_from_any_split(name, data, end, separators, places):
    events = data.draw(st.lists(EVENTS[name], max_size=12))
    lines = [json.dumps(event, separators=separators, ensure_ascii=False).encode() for event in events]
    whole = b"".join(b"event: x" + end + b"data: " + line + end * 2 for line in lines)
    bounds = [0, *sorted(place % (len(whole) + 1) for place in places), len(whole)]
    for wants_answer in (True, False):
        expected = facts(name, [whole], wants_answer=wants_answer)
        assert facts(name, [whole[start:stop] for start, stop in pairwise(bounds)], wants_answer=wants_answer) == expected
        assert facts(name, [whole[at : at + 1] for at in range(len(whole))], wants_answer=wants_answer) == expected


@NAMES
@given(st.data(), st.lists(st.binary(max_size=200), max_size=10), st.booleans())
def test_the_tap_never_raises_on_garbage_and_finds_its_feet_behind_it(name, data, garbage, is_stream):
    event = json.dumps(data.draw(EVENTS[name])).encode()
    for piece in garbage:
        facts(name, [piece, b'data: {"type":' + piece + b"}\n\n", b"data: " + event + piece + b"\n\n"], is_stream=is_stream)
    assert facts(name, [*garbage, b"\n\n" + VISIBLE[name]])[2] == 1.0


@NAMES
@given(DOCUMENTS)
def test_the_tap_never_raises_on_a_document_of_another_shape(name, document):
    usage, *_ = facts(name, [json.dumps(document).encode()], is_stream=False, wants_answer=True)
    assert usage is None or usage.prompt_tokens == document["usage"]["input_tokens"]
