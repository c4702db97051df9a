"""What the gateway is told of tool calls in a stream of messages."""

import json

import pytest
from tests.unit.tool_streams import MESSAGE_STOP, MESSAGES, block, body, event, hear, input_delta, message_end, tool_use

START = event({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}})
STOP = block("stop")
END = message_end("tool_use") + MESSAGE_STOP


def test_a_block_is_announced_with_its_first_piece_and_filled_when_it_closes():
    text = block("start", content_block={"type": "text", "text": ""}) + block(
        "delta", delta={"type": "text_delta", "text": "Hm"}
    )
    ear = hear(
        MESSAGES, START, text + STOP, tool_use("f", 1), input_delta('{"x"', 1), input_delta(":1}", 1), block("stop", 1), END
    )
    assert (ear.announced, ear.filled, ear.end) == ([(0, "f", "toolu_1")], [(0, '{"x":1}')], "clean")
    assert [message.at for message in ear.told] == [3.0, 4.0, 100.0]


def test_without_arguments_a_call_is_filled_when_its_block_stops():
    ear = hear(MESSAGES, tool_use("f"), input_delta(""), STOP, END, carried=None)
    assert (ear.announced, ear.filled) == ([(0, "f", "toolu_1")], [(0, "{}")])
    assert hear(MESSAGES, tool_use("f"), input_delta(""), message_end("max_tokens") + MESSAGE_STOP).told == []


def test_arguments_that_lost_their_first_letters_are_malformed():
    ear = hear(MESSAGES, tool_use("f"), input_delta('city":"Paris"}'), STOP, END)
    assert (ear.filled, ear.voided) == ([], [(0, "malformed")])


def test_a_block_that_stops_with_its_arguments_open_voids_the_turn():
    ear = hear(
        MESSAGES,
        tool_use("f"),
        input_delta('{"x":{"y":1}'),
        STOP,
        tool_use("g", 1),
        input_delta("{}", 1),
        block("stop", 1),
        END,
    )
    assert (ear.filled, ear.voided, ear.end) == ([(1, "{}")], [(0, "malformed")], "malformed")


def test_input_that_stands_in_the_start_of_a_block_is_all_of_it():
    ear = hear(MESSAGES, tool_use("f", given={"x": 1}), STOP, END)
    assert (ear.filled, ear.end) == ([(0, '{"x": 1}')], "clean")
    twice = hear(MESSAGES, tool_use("f", given={"x": 1}), input_delta('{"x": 1}'), STOP, END)
    assert twice.voided == [(0, "drift")]


def test_blocks_at_one_index_are_calls_of_their_own():
    reads = [part for number in range(3) for part in (tool_use("f", call_id=f"t{number}"), input_delta("{}"), STOP)]
    assert hear(MESSAGES, *reads, END).announced == [(0, "f", "t0"), (1, "f", "t1"), (2, "f", "t2")]


def test_input_of_other_blocks_is_no_call():
    start = block("start", content_block={"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})
    assert hear(MESSAGES, start, input_delta('{"query":"x"}'), STOP, END).told == []


def test_events_without_an_index_belong_to_the_block_that_is_open():
    events = [
        {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop"},
    ]
    assert hear(MESSAGES, *map(event, events), END).filled == [(0, "{}")]


ENDS = {
    "tool_use": (END, "clean"),
    "end_turn": (message_end("end_turn") + MESSAGE_STOP, "clean"),
    "max_tokens": (message_end("max_tokens") + MESSAGE_STOP, "length"),
    "the window": (message_end("model_context_window_exceeded") + MESSAGE_STOP, "length"),
    "refusal": (message_end("refusal") + MESSAGE_STOP, "refused"),
    "stop_sequence": (message_end("stop_sequence") + MESSAGE_STOP, "stopped"),
    "pause_turn": (message_end("pause_turn") + MESSAGE_STOP, "stopped"),
    "no message_stop": (message_end("tool_use"), "broken"),
    "no stop_reason": (MESSAGE_STOP, "broken"),
    "an error": (message_end("tool_use") + event({"type": "error", "error": {"type": "api_error"}}) + MESSAGE_STOP, "broken"),
    "garbage": (b'data: {"type":"message_delta",\n\n' + END, "broken"),
}


@pytest.mark.parametrize(("end", "why"), ENDS.values(), ids=ENDS)
def test_how_a_turn_ends(end, why):
    ear = hear(MESSAGES, START, tool_use("f"), input_delta("{}"), STOP, end)
    assert (ear.filled, ear.end) == ([(0, "{}")], why)


def test_an_engine_that_used_all_tokens_it_was_allowed_was_cut_whatever_it_says():
    reads = [START, tool_use("f"), input_delta("{}"), STOP, END]
    assert hear(MESSAGES, *reads, given=body(MESSAGES, max_tokens=5)).end == "length"
    assert hear(MESSAGES, *reads, given=body(MESSAGES, max_tokens=6)).end == "clean"


def test_an_answer_in_one_piece_is_announced_filled_and_settled_at_once():
    content = [
        {"type": "text", "text": "Hm"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "u", "name": "g", "input": {}},
    ]
    document = {
        "type": "message",
        "content": content,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 9, "output_tokens": 5},
    }
    ear = hear(MESSAGES, json.dumps(document).encode(), is_stream=False)
    assert ear.announced == [(0, "f", "t"), (1, "g", "u")]
    assert (ear.filled, ear.end) == ([(0, '{"x": 1}'), (1, "{}")], "clean")
    broken = {**document, "type": "error"}
    assert hear(MESSAGES, json.dumps(broken).encode(), is_stream=False).end == "broken"
