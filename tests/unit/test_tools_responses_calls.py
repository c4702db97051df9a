"""What the gateway is told of tool calls in a stream of responses."""

import json

import pytest
from tests.unit.tool_streams import RESPONSES, arguments_event, body, event, hear, item, response_end

CREATED = event({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": [], "error": None}})
TEXT = '{"x":1}'


def call(text=TEXT, index=0, **final):
    """The events of one call, its text in two pieces."""
    return [
        item("added", index=index, call_id=f"call_{index}"),
        arguments_event("delta", text[:3], index),
        arguments_event("delta", text[3:], index),
        arguments_event("done", final.get("done", text), index),
        item("done", index=index, call_id=final.get("call_id", f"call_{index}"), name=final.get("name", "f"),
             arguments=final.get("item", text), status=final.get("status", "completed")),
    ]  # fmt: skip


def test_a_call_is_announced_with_its_first_piece_and_filled_when_it_closes():
    ear = hear(RESPONSES, CREATED, *call(), response_end())
    assert (ear.announced, ear.filled, ear.end) == ([(0, "f", "call_0")], [(0, TEXT)], "clean")
    assert [message.at for message in ear.told] == [2.0, 3.0, 100.0]


@pytest.mark.parametrize("final", [{"done": '{"x":2}'}, {"item": '{"x":2}'}, {"done": ""}, {"name": "g"}, {"call_id": "other"}])
def test_a_final_word_that_differs_from_the_pieces_voids_the_call(final):
    ear = hear(RESPONSES, *call(**final), response_end())
    assert (ear.filled, ear.voided, ear.end) == ([(0, TEXT)], [(0, "drift")], "clean")


def test_a_final_text_is_all_of_it_where_no_piece_came():
    ear = hear(RESPONSES, item("added"), arguments_event("done", TEXT), item("done", arguments=TEXT), response_end())
    assert (ear.filled, ear.end) == ([(0, TEXT)], "clean")
    only = hear(RESPONSES, item("done", arguments=TEXT, status="completed"), response_end())
    assert (only.announced, only.filled) == ([(0, "f", "call_1")], [(0, TEXT)])


def test_without_arguments_a_call_is_filled_at_its_own_end():
    ear = hear(RESPONSES, item("added"), arguments_event("done", ""), item("done"), response_end())
    assert (ear.filled, ear.end) == ([(0, "{}")], "clean")


def test_an_item_that_is_incomplete_is_void():
    reads = [item("added"), arguments_event("delta", TEXT), item("done", arguments=TEXT, status="incomplete")]
    ear = hear(RESPONSES, *reads, response_end("incomplete", reason="max_output_tokens"))
    assert (ear.voided, ear.end) == ([(0, "length")], "length")


def test_a_call_that_ends_with_its_arguments_open_is_malformed():
    ear = hear(RESPONSES, *call('{"x":{"y":1}'), response_end())
    assert (ear.filled, ear.voided, ear.end) == ([], [(0, "malformed")], "malformed")


def test_parallel_calls_are_told_apart_by_their_index_or_else_by_their_item():
    ear = hear(RESPONSES, *call(index=0), *call('{"x":2}', index=1), response_end())
    assert ear.filled == [(0, TEXT), (1, '{"x":2}')]
    named = [
        {"type": "response.output_item.added", "item": {"type": "function_call", "call_id": "a", "name": "f", "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "delta": TEXT},
    ]
    assert hear(RESPONSES, *map(event, named), response_end()).filled == [(0, TEXT)]


def test_an_item_that_is_added_twice_is_one_call():
    ear = hear(RESPONSES, item("added"), item("added"), arguments_event("delta", TEXT), response_end())
    assert ear.announced == [(0, "f", "call_1")]


def test_tools_that_the_server_runs_are_no_calls():
    items = [{"type": kind, "id": "i", "name": "f", "arguments": TEXT} for kind in ("mcp_call", "custom_tool_call")]
    reads = [event({"type": "response.output_item.done", "output_index": 0, "item": given}) for given in items]
    assert hear(RESPONSES, *reads, response_end()).told == []


ENDS = {
    "completed": (response_end(), "clean"),
    "max_output_tokens": (response_end("incomplete", reason="max_output_tokens"), "length"),
    "content_filter": (response_end("incomplete", reason="content_filter"), "filtered"),
    "incomplete for nothing": (response_end("incomplete"), "stopped"),
    "failed": (response_end("failed"), "broken"),
    "cancelled": (response_end("cancelled"), "broken"),
    "an error": (event({"type": "error", "error": {"message": "oh"}}) + response_end(), "broken"),
    "a refusal": (event({"type": "response.refusal.delta", "delta": "I"}) + response_end(), "refused"),
    "no end": (b"", "broken"),
}


@pytest.mark.parametrize(("end", "why"), ENDS.values(), ids=ENDS)
def test_how_a_turn_ends(end, why):
    ear = hear(RESPONSES, *call(), end)
    assert (ear.filled, ear.end) == ([(0, TEXT)], why)


def test_an_engine_that_used_all_tokens_it_was_allowed_was_cut_whatever_it_says():
    assert hear(RESPONSES, *call(), response_end(), given=body(RESPONSES, max_output_tokens=5)).end == "length"
    assert hear(RESPONSES, *call(), response_end(), given=body(RESPONSES, max_output_tokens=6)).end == "clean"


def test_an_answer_in_one_piece_is_announced_filled_and_settled_at_once():
    output = [
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": TEXT, "status": "completed"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "", "status": "completed"},
    ]
    whole = {"id": "r", "status": "completed", "output": output, "usage": {"input_tokens": 9, "output_tokens": 5}}
    ear = hear(RESPONSES, json.dumps(whole).encode(), is_stream=False)
    assert (ear.announced, ear.filled, ear.end) == ([(0, "f", "a"), (1, "g", "b")], [(0, TEXT), (1, "{}")], "clean")
    refusing = {**whole, "output": [*output, {"type": "message", "content": [{"type": "refusal", "refusal": "I"}]}]}
    assert hear(RESPONSES, json.dumps(refusing).encode(), is_stream=False).end == "refused"
