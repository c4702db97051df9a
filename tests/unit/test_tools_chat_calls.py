"""What the gateway is told of tool calls in a stream of chat."""

import json

import pytest
from tests.unit.tool_streams import CHAT, DONE, Carried, Ear, body, chunk, event, hear, piece, request

from turnwise.proxy.dispatch import Dispatch
from turnwise.proxy.dispatch.answer import MAX_CALLS
from turnwise.tools_gateway.messages import Announced, Filled, Settled

USED = {"prompt_tokens": 9, "completion_tokens": 5}
END = chunk(finish="tool_calls", usage=USED) + DONE


def test_a_call_is_announced_with_its_first_piece_filled_at_its_last_brace_and_the_turn_settled_at_its_end():
    ear = hear(
        CHAT,
        chunk(delta={"content": "let me see"}),
        chunk(piece(name="f", call_id="a")),
        chunk(piece('{"x"')),
        chunk(piece(':"}"')),
        chunk(piece("}")),
        END,
    )
    announced, filled, settled = ear.told
    assert (type(announced), announced.tool, announced.id, announced.index, announced.at) == (Announced, "f", "a", 0, 2.0)
    assert (type(filled), bytes(filled.arguments), filled.at) == (Filled, b'{"x":"}"}', 4.0)
    assert (type(settled), settled.why, settled.at) == (Settled, None, 100.0)
    assert announced.turn == filled.turn == settled.turn


def test_a_whole_call_in_one_delta_is_filled_at_once():
    ear = hear(CHAT, chunk(piece('{"x":1}', name="f", call_id="a")), END)
    assert (ear.announced, ear.filled, ear.end) == ([(0, "f", "a")], [(0, '{"x":1}')], "clean")


def test_arguments_written_as_an_object_are_given_on_as_they_were_written():
    call = piece({"x": [1, {"y": "é"}]}, name="f", call_id="a")
    assert hear(CHAT, chunk(call), END).filled == [(0, '{"x": [1, {"y": "\\u00e9"}]}')]
    twice = event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).replace(b'{"x": [1', b'{"x": 0, "x": [1')
    assert hear(CHAT, twice, END).voided == [(0, "malformed")]


def test_every_call_at_index_0_with_a_new_id_is_a_call_of_its_own():
    ear = hear(CHAT, *(chunk(piece(f'{{"x":{number}}}', name="f", call_id=f"id{number}")) for number in range(3)), END)
    assert ear.filled == [(0, '{"x":0}'), (1, '{"x":1}'), (2, '{"x":2}')]
    assert ear.announced == [(0, "f", "id0"), (1, "f", "id1"), (2, "f", "id2")]


def test_calls_without_an_index_are_told_apart_by_their_ids():
    calls = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in ("f", "g")]
    assert hear(CHAT, chunk(*calls), END).announced == [(0, "f", "f"), (1, "g", "g")]


def test_a_name_may_come_in_pieces_and_is_final_with_the_first_piece_of_arguments():
    ear = hear(CHAT, chunk(piece(name="get_", call_id="a")), chunk(piece(name="weather")), chunk(piece("{}", name="!")), END)
    assert ear.announced == [(0, "get_weather!", "a")]


def test_a_name_that_is_repeated_with_every_piece_is_one_name():
    reads = [chunk(piece(part, name="f", call_id="a")) for part in ("", '{"x"', ":1}")]
    ear = hear(CHAT, *reads, END)
    assert (ear.announced, ear.filled, ear.end) == ([(0, "f", "a")], [(0, '{"x":1}')], "clean")


@pytest.mark.parametrize("later", [piece("1}", name="g"), piece("1}", call_id="b")], ids=["name", "id"])
def test_another_name_or_id_within_a_call_voids_it(later):
    ear = hear(CHAT, chunk(piece('{"x":', name="f", call_id="a")), chunk(later), END)
    assert (ear.filled, ear.voided) == ([], [(0, "drift")])


def test_parallel_calls_may_be_written_turn_about():
    reads = [chunk(piece("", name=name, index=index, call_id=name)) for index, name in enumerate("fg")]
    opened = [chunk(piece('{"x":', name=name, index=index, call_id=name)) for index, name in enumerate("fg")]
    ear = hear(CHAT, *opened, chunk(piece("1}", index=1)), chunk(piece("0}", index=0)), END)
    assert ear.filled == [(1, '{"x":1}'), (0, '{"x":0}')]
    # Headers alone before any arguments are calls without arguments, as far as anybody can tell: what comes behind is too much.
    ear = hear(CHAT, *reads, chunk(piece("{}", index=0)), chunk(piece("{}", index=1)), END)
    assert (ear.filled, ear.voided) == ([(0, "{}"), (1, "{}")], [(0, "drift")])


def test_without_arguments_a_call_is_filled_only_when_another_begins_or_the_turn_ends_cleanly():
    header = chunk(piece("", name="f", call_id="a"))
    assert hear(CHAT, header, chunk(piece("{}", name="g", index=1, call_id="b")), carried=None).filled == [(0, "{}"), (1, "{}")]
    assert hear(CHAT, header, END).filled == [(0, "{}")]
    assert hear(CHAT, header, chunk(finish="length", usage=USED) + DONE).told == []


@pytest.mark.parametrize("behind", ["}", " x", '{"x":1}', "1}", "\u00a0"])
def test_anything_but_space_behind_the_close_voids_the_call(behind):
    ear = hear(CHAT, chunk(piece('{"x":1}', name="f", call_id="a")), chunk(piece(behind)), END)
    assert (ear.filled, ear.voided, ear.end) == ([(0, '{"x":1}')], [(0, "drift")], "clean")
    at_once = hear(CHAT, chunk(piece('{"x":1}' + behind, name="f", call_id="a")), END)
    assert (at_once.filled, at_once.voided) == ([], [(0, "drift")])


def test_space_behind_the_close_is_nothing():
    ear = hear(CHAT, chunk(piece(' {"x":1} ', name="f", call_id="a")), chunk(piece("\n\t ")), END)
    assert (ear.voided, ear.end) == ([], "clean")


@pytest.mark.parametrize("text", ['{"x":NaN}', '{"x":1,"x":2}', '{"x":"\\ud83d"}', "[1]", "null", '"{}"', 'city":"Paris"}'])
def test_arguments_that_are_no_strict_object_void_their_call_and_leave_the_others(text):
    good = piece('{"x":1}', name="g", index=1, call_id="b")
    ear = hear(CHAT, chunk(piece(text, name="f", call_id="a")), chunk(good), END)
    assert (ear.filled, ear.voided, ear.end) == ([(1, '{"x":1}')], [(0, "malformed")], "clean")


def test_half_a_surrogate_pair_may_come_in_each_of_two_events():
    halves = ['{"x":"\ud83d', '\ude00"}']
    ear = hear(CHAT, *(chunk(piece(half, name="f", call_id="a")) for half in halves), END)
    assert (ear.filled, ear.end) == ([(0, '{"x":"😀"}')], "clean")
    assert hear(CHAT, chunk(piece(halves[0] + '"}', name="f", call_id="a")), END).voided == [(0, "malformed")]


def test_arguments_beyond_a_megabyte_void_their_call_and_are_not_kept():
    reads = [chunk(piece("x" * 100_000)) for _ in range(20)]
    ear = hear(CHAT, chunk(piece('{"x":"', name="f", call_id="a")), *reads, END)
    assert (ear.filled, ear.voided) == ([], [(0, "malformed")])


def test_spaces_behind_the_close_are_not_kept_without_bound():
    reads = [chunk(piece(" " * 100_000)) for _ in range(20)]
    assert hear(CHAT, chunk(piece('{"x":1}', name="f", call_id="a")), *reads, END).voided == [(0, "malformed")]


def test_arguments_of_all_calls_together_are_bounded():
    text = '{"x":"' + "y" * 900_000 + '"}'
    ear = hear(CHAT, *(chunk(piece(text, name="f", index=index, call_id=f"id{index}")) for index in range(8)), END)
    assert [index for index, _ in ear.filled] == [0, 1, 2, 3]
    assert ear.voided == [(index, "malformed") for index in range(4, 8)]


def test_calls_beyond_the_bound_are_not_told_of():
    reads = [chunk(piece("{}", name="f", index=index, call_id=f"id{index}")) for index in range(MAX_CALLS + 10)]
    assert len(hear(CHAT, *reads, END).announced) == MAX_CALLS


def test_a_call_without_a_name_is_not_told_of():
    assert hear(CHAT, chunk(piece('{"x":1}', call_id="a")), END).told == []
    assert hear(CHAT, chunk(piece('{"x":1}', name="\ud83d", call_id="a")), END).told == []


ENDS = {
    "tool_calls": (chunk(finish="tool_calls", usage=USED) + DONE, "clean"),
    "stop": (chunk(finish="stop", usage=USED) + DONE, "clean"),
    "function_call": (chunk(finish="function_call", usage=USED) + DONE, "clean"),
    "length": (chunk(finish="length", usage=USED) + DONE, "length"),
    "content_filter": (chunk(finish="content_filter", usage=USED) + DONE, "filtered"),
    "an unknown reason": (chunk(finish="abort", usage=USED) + DONE, "stopped"),
    "a stop string": (chunk(finish="stop", stop_reason="###", usage=USED) + DONE, "stopped"),
    "a stop token": (chunk(finish="tool_calls", stop_reason=128008, usage=USED) + DONE, "clean"),
    "no stop string": (chunk(finish="tool_calls", stop_reason=None, usage=USED) + DONE, "clean"),
    "a refusal": (chunk(delta={"refusal": "I"}) + chunk(finish="stop", usage=USED) + DONE, "refused"),
    "no refusal": (chunk(delta={"refusal": None}) + chunk(finish="stop", usage=USED) + DONE, "clean"),
    "no [DONE]": (chunk(finish="tool_calls", usage=USED), "broken"),
    "no finish_reason": (DONE, "broken"),
    "an empty finish_reason": (chunk(finish="", usage=USED) + DONE, "broken"),
    "nothing": (b"", "broken"),
    "an error": (event({"error": {"message": "oh"}}) + DONE, "broken"),
    "an error behind the end": (chunk(finish="stop", usage=USED) + event({"error": "oh"}) + DONE, "broken"),
    "half an event of a call": (chunk(finish="stop", usage=USED) + b'data: {"tool_calls"\n\n' + DONE, "broken"),
}


@pytest.mark.parametrize(("end", "why"), ENDS.values(), ids=ENDS)
def test_how_a_turn_ends(end, why):
    ear = hear(CHAT, chunk(piece('{"x":1}', name="f", call_id="a")), end)
    assert (ear.filled, ear.end) == ([(0, '{"x":1}')], why)


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_an_engine_that_used_all_tokens_it_was_allowed_was_cut_whatever_it_says(limit):
    reads = [chunk(piece('{"x":1}', name="f", call_id="a")), END]
    assert hear(CHAT, *reads, given=body(CHAT, **{limit: 5})).end == "length"
    assert hear(CHAT, *reads, given=body(CHAT, **{limit: 6})).end == "clean"


def test_where_tokens_are_limited_and_nobody_counted_them_no_end_is_clean():
    reads = [chunk(piece('{"x":1}', name="f", call_id="a")), chunk(finish="tool_calls"), DONE]
    assert hear(CHAT, *reads, given=body(CHAT, max_tokens=50)).end == "length"
    assert hear(CHAT, *reads).end == "clean"


def test_a_call_still_open_at_an_end_that_claims_to_be_clean_voids_the_turn():
    whole, cut = piece('{"x":1}', name="f", call_id="a"), piece('{"x":', name="g", index=1, call_id="b")
    ear = hear(CHAT, chunk(whole), chunk(cut), END)
    assert (ear.filled, ear.voided, ear.end) == ([(0, '{"x":1}')], [(1, "malformed")], "malformed")


CARRIED = {
    "client gone": (Carried(is_complete=False, is_client_gone=True), "client_gone"),
    "replica failed": (Carried(is_complete=False), "broken"),
    "cancelled, or a bug": (None, "broken"),
}


@pytest.mark.parametrize(("carried", "why"), CARRIED.values(), ids=CARRIED)
def test_a_turn_that_did_not_reach_its_client_is_void_whatever_was_written(carried, why):
    ear = hear(CHAT, chunk(piece('{"x":1}', name="f", call_id="a")), END, carried=carried)
    assert ear.end == why


def test_an_answer_in_one_piece_is_announced_filled_and_settled_at_once():
    calls = [
        {"id": "a", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "function": {"name": "g", "arguments": {"y": 2}}},
        {"id": "c", "function": {"name": "h", "arguments": ""}},
    ]
    whole = {"choices": [{"message": {"tool_calls": calls, "refusal": None}, "finish_reason": "tool_calls"}], "usage": USED}
    document = json.dumps(whole).encode()
    ear = hear(CHAT, document[:50], document[50:], is_stream=False)
    assert ear.announced == [(0, "f", "a"), (1, "g", "b"), (2, "h", "c")]
    assert (ear.filled, ear.end) == ([(0, '{"x":1}'), (1, '{"y": 2}'), (2, "{}")], "clean")
    assert hear(CHAT, document[:-3], is_stream=False).told == []
    assert hear(CHAT, document, is_stream=False, status=500).told == []


def test_a_turn_without_tool_calls_is_not_told_of():
    assert hear(CHAT, chunk(delta={"content": "hello"}), chunk(finish="stop", usage=USED) + DONE).told == []


def test_text_that_looks_like_a_call_is_none():
    shown = json.dumps(chunk(piece("{}", name="f", call_id="a")).decode())
    assert hear(CHAT, chunk(delta={"content": shown}), chunk(delta={"reasoning": shown}), END).told == []


def test_a_line_too_long_to_hold_breaks_the_turn():
    open_line = [b'data: {"choices":[{"delta":{"content":"', *[b"x" * 65_536] * 17, b'"}}]}\n\n']
    ear = hear(CHAT, chunk(piece('{"x":1}', name="f", call_id="a")), *open_line, END)
    assert ear.end == "broken"


def test_nobody_watches_where_nobody_listens_or_no_tools_are_offered():
    deaf, ear = Dispatch(Ear(is_listening=False), lambda _: None), Dispatch(Ear(), lambda _: None)
    without = {key: value for key, value in body(CHAT).items() if key != "tools"}
    assert deaf.watch(request(CHAT), None, None, None, None) is None
    assert ear.watch(request(CHAT, without), None, None, None, None) is None
    assert ear.watch(request(CHAT), None, None, None, None) is not None
