"""The tool calls of an answer, the id of it, and when the first piece of a call's arguments came."""

import json

import pytest

from turnwise.dialects import DIALECTS, quotes
from turnwise.dialects.answer import MAX_SAID_BYTES
from turnwise.dialects.openai_tap import GenerationTap
from turnwise.dialects.tap import MAX_UNREAD
from turnwise.turns import MAX_ID_CHARS, ToolCall
from turnwise.types import DialectName

CHAT, COMPLETIONS, MESSAGES, RESPONSES = (
    DialectName.CHAT, DialectName.COMPLETIONS, DialectName.MESSAGES, DialectName.RESPONSES
)  # fmt: skip
UNDERSTOOD = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
CALLING = (CHAT, MESSAGES, RESPONSES)
TASK = "Look through the code for places where the lock is held."
ARGUMENTS = json.dumps({"task": TASK, "depth": 2})
CALLS = (
    ToolCall("call_1", "agent", len(ARGUMENTS), quotes.of_arguments(ARGUMENTS)),
    ToolCall("call_2", "now", 2, ()),
)


def sse(payload) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def chunk(delta=None, finish=None):
    return sse({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}]})


def chat_call(arguments, index=0, call_id=None, **begins):
    call = {"index": index, "function": {"arguments": arguments, **begins}}
    return chunk({"tool_calls": [{**call, "id": call_id} if call_id is not None else call]})


def block(index, **fields):
    return sse({"type": "content_block_start", "index": index, "content_block": fields})


def block_delta(index, **fields):
    return sse({"type": "content_block_delta", "index": index, "delta": fields})


def item_event(kind, **fields):
    return sse({"type": f"response.{kind}", **fields})


PIECES = [ARGUMENTS[at : at + 7] for at in range(0, len(ARGUMENTS), 7)]
TEXTS = ["I", " will", " see"]
OUTPUT = [
    {"type": "message", "content": [{"type": "output_text", "text": "I will see"}]},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "agent", "arguments": ARGUMENTS},
    {"type": "custom_tool_call", "id": "fc_2", "call_id": "call_2", "name": "now", "input": "{}"},
]
WHOLE = {
    CHAT: {
        "id": "chatcmpl-1",
        "choices": [
            {
                "finish_reason": "tool_calls",
                "message": {
                    "content": "I will see",
                    "tool_calls": [
                        {"id": "call_1", "function": {"name": "agent", "arguments": ARGUMENTS}},
                        {"id": "call_2", "function": {"name": "now", "arguments": "{}"}},
                    ],
                },
            }
        ],
    },
    MESSAGES: {
        "id": "msg_1",
        "stop_reason": "tool_use",
        "content": [
            {"type": "text", "text": "I will see"},
            {"type": "tool_use", "id": "call_1", "name": "agent", "input": json.loads(ARGUMENTS)},
            {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
        ],
    },
    RESPONSES: {"id": "resp_1", "status": "completed", "output": OUTPUT},
}
STREAMS = {
    CHAT: (
        [chunk({"role": "assistant", "content": ""}), *[chunk({"content": word}) for word in TEXTS]],
        [chat_call("", call_id="call_1", name="agent")],
        [
            *[chat_call(piece) for piece in PIECES],
            chat_call("{}", 1, call_id="call_2", name="now"),
            chunk({}, "tool_calls"),
            b"data: [DONE]\n\n",
        ],
    ),
    MESSAGES: (
        [
            sse({"type": "message_start", "message": {"id": "msg_1", "content": []}}),
            block(0, type="text", text=""),
            *[block_delta(0, type="text_delta", text=word) for word in TEXTS],
        ],
        [block(1, type="tool_use", id="call_1", name="agent", input={})],
        [
            *[block_delta(1, type="input_json_delta", partial_json=piece) for piece in PIECES],
            block(2, type="tool_use", id="call_2", name="now", input={}),
            sse({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}}),
        ],
    ),
    RESPONSES: (
        [
            item_event("created", response={"id": "resp_1", "status": "in_progress"}),
            *[item_event("output_text.delta", delta=word) for word in TEXTS],
        ],
        [
            item_event(
                "output_item.added", item={"type": "function_call", "call_id": "call_1", "name": "agent", "arguments": ""}
            )
        ],
        [
            *[item_event("function_call_arguments.delta", delta=piece) for piece in PIECES],
            item_event("completed", response=WHOLE[RESPONSES]),
        ],
    ),
}
"""Text, then what begins a call, then its arguments and all the rest."""


def watch(name, *reads, is_stream=True, status=200, wants_answer=True):
    """Feeds read i at time i and closes at time 1,000."""
    tap = DIALECTS[name].tap(wants_answer=wants_answer)
    tap.on_head(status, is_stream=is_stream)
    for now, data in enumerate(reads):
        tap.feed(data, float(now))
    tap.close(1000.0)
    return tap


def document(name, value, **how):
    return watch(name, json.dumps(value).encode(), is_stream=False, **how)


@pytest.mark.parametrize("name", CALLING)
def test_a_stream_gives_its_tool_calls_and_when_the_first_arguments_came(name):
    texts, begins, rest = STREAMS[name]
    tap = watch(name, *texts, *begins, *rest)
    assert tap.tool_calls == CALLS
    assert tap.first_tool_at == len(texts) + len(begins)
    assert tap.response_id == {CHAT: "chatcmpl-1", MESSAGES: "msg_1", RESPONSES: "resp_1"}[name]


@pytest.mark.parametrize("wants_answer", [True, False])
@pytest.mark.parametrize("name", CALLING)
def test_the_name_of_a_tool_is_no_piece_of_its_arguments(name, wants_answer):
    _, begins, rest = STREAMS[name]
    assert watch(name, *begins, *begins, *rest, wants_answer=wants_answer).first_tool_at == 2 * len(begins)


@pytest.mark.parametrize("wants_answer", [True, False])
@pytest.mark.parametrize("num_reads", [1, MAX_UNREAD - 1, MAX_UNREAD, 3 * MAX_UNREAD + 5])
@pytest.mark.parametrize("name", CALLING)
def test_the_first_arguments_are_noted_when_they_came_however_much_text_came_before(name, num_reads, wants_answer):
    texts, begins, rest = STREAMS[name]
    reads = [*texts, *[texts[-1]] * num_reads, *begins, *rest]
    tap = watch(name, *reads, wants_answer=wants_answer)
    assert tap.first_tool_at == len(texts) + num_reads + len(begins)


@pytest.mark.parametrize("name", CALLING)
def test_the_first_arguments_are_known_whenever_somebody_asks(name):
    texts, begins, rest = STREAMS[name]
    tap = DIALECTS[name].tap(wants_answer=True)
    tap.on_head(200, is_stream=True)
    for now, data in enumerate((*texts, *begins, rest[0])):
        assert tap.first_tool_at is None
        tap.feed(data, float(now))
    assert tap.first_tool_at == len(texts) + len(begins)


@pytest.mark.parametrize("name", CALLING)
def test_a_whole_answer_gives_the_same_tool_calls_and_its_own_arrival(name):
    tap = document(name, WHOLE[name])
    assert [(call.id, call.name, call.quotes) for call in tap.tool_calls] == [
        (call.id, call.name, call.quotes) for call in CALLS
    ]
    assert (tap.first_tool_at, tap.first_visible_at) == (1000.0, 1000.0)
    assert tap.response_id == WHOLE[name]["id"]


@pytest.mark.parametrize("name", CALLING)
def test_who_wants_no_answer_learns_no_tool_calls_but_when_they_came(name):
    texts, begins, rest = STREAMS[name]
    for tap in (watch(name, *texts, *begins, *rest, wants_answer=False), document(name, WHOLE[name], wants_answer=False)):
        assert tap.tool_calls == ()
        assert tap.first_tool_at is not None


@pytest.mark.parametrize("name", CALLING)
def test_a_stream_that_breaks_off_has_no_tool_calls(name):
    texts, begins, rest = STREAMS[name]
    assert watch(name, *texts, *begins, *rest[: len(PIECES)]).tool_calls == ()


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_text_and_reasoning_alone_call_no_tool(name):
    reads = {
        CHAT: [chunk({"reasoning": "hm"}), chunk({"content": '"arguments":{"input_json_delta"'}), chunk({}, "stop")],
        COMPLETIONS: [sse({"choices": [{"text": '"arguments": "x"', "finish_reason": "stop"}]})],
        MESSAGES: [
            block_delta(0, type="thinking_delta", thinking="hm"),
            block_delta(1, type="text_delta", text='"input_json_delta"'),
            sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        ],
        RESPONSES: [
            item_event("output_text.delta", delta='"response.function_call_arguments.delta"'),
            item_event("completed", response={"status": "completed", "output": OUTPUT[:1]}),
        ],
    }[name]
    for wants_answer in (True, False):
        tap = watch(name, *reads, wants_answer=wants_answer)
        assert (tap.tool_calls, tap.first_tool_at) == ((), None)


def test_calls_that_a_chunk_says_to_be_none_are_none():
    nothing = [{"content": "a", "tool_calls": none} for none in (None, [])]
    tap = watch(CHAT, *map(chunk, nothing), chunk({"tool_calls": "of another shape"}), chunk({}, "stop"), wants_answer=False)
    assert (tap.first_tool_at, tap.tool_calls) == (None, ())


@pytest.mark.parametrize("call_id", [None, 7, "", "x" * (MAX_ID_CHARS + 1), ["call_1"]])
@pytest.mark.parametrize("name", CALLING)
def test_an_id_that_is_none_is_left_empty(name, call_id):
    whole = json.loads(json.dumps(WHOLE[name]).replace('"call_1"', json.dumps(call_id)))
    assert [call.id for call in document(name, whole).tool_calls] == ["", "call_2"]


@pytest.mark.parametrize("name", CALLING)
def test_the_id_of_an_answer_is_one_only_where_it_is_a_text(name):
    if name is not RESPONSES:  # whose id is checked with all else, since a later call may name it
        assert document(name, {**WHOLE[name], "id": 7}).response_id is None
        assert document(name, {**WHOLE[name], "id": 7}).tool_calls != ()
    assert document(name, WHOLE[name], status=500).response_id is None


def test_a_stream_that_repeats_the_id_with_every_piece_gives_it_once():
    pieces = [chat_call(piece, call_id="call_1", name="") for piece in PIECES]
    tap = watch(CHAT, chat_call("", call_id="call_1", name="agent"), *pieces, chunk({}, "tool_calls"))
    assert tap.tool_calls == CALLS[:1]


def test_pieces_that_repeat_the_id_are_not_parsed_one_by_one():
    class Counting(GenerationTap):
        num_decoded = 0

        def _decode(self, payload):
            self.num_decoded += 1
            return super()._decode(payload)

    def num_decoded(pieces):
        tap = Counting(wants_answer=True)
        tap.on_head(200, is_stream=True)
        for data in (chat_call("", call_id="call_1", name="agent"), *pieces):
            tap.feed(data, 1.0)
        return tap.num_decoded

    assert num_decoded([chat_call(piece, call_id="call_1") for piece in PIECES]) == num_decoded(map(chat_call, PIECES)) < 5


def test_arguments_that_are_an_object_are_arguments():
    whole = chat_call({"task": TASK}, call_id="call_1", name="agent")
    tap = watch(CHAT, chunk({"content": "a"}), whole, chunk({}, "tool_calls"))
    assert (tap.first_tool_at, tap.tool_calls[0].quotes) == (1.0, quotes.of_arguments(ARGUMENTS))


@pytest.mark.parametrize("name", CALLING)
def test_arguments_longer_than_any_that_are_read_leave_no_tool_calls(name):
    texts, begins, rest = STREAMS[name]
    if name is RESPONSES:
        long = [item_event("completed", response={"status": "completed", "output": [*OUTPUT, "x" * MAX_SAID_BYTES]})]
    else:
        long = [*rest[:1] * (MAX_SAID_BYTES // 7 + 1), *rest[len(PIECES) :]]
    assert watch(name, *texts, *begins, *long).tool_calls == ()
