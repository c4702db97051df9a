"""Events that differ in a piece of arguments alone, and text that nobody looks at: nothing is lost by the short way."""

import json

import pytest
from tests.unit.tool_streams import (
    CHAT,
    DONE,
    MESSAGES,
    RESPONSES,
    arguments_event,
    block,
    body,
    chunk,
    event,
    hear,
    input_delta,
    item,
    message_end,
    piece,
    tool_use,
)  # fmt: skip

from turnwise.dialects.calling_frame import Frame
from turnwise.dialects.tap import MAX_UNREAD

USED = {"prompt_tokens": 9, "completion_tokens": 5}
END = chunk(finish="tool_calls", usage=USED) + DONE
TRICKY = ['{"index"', ":", '"type"', ",", '"', "a", '": "', "a", "a", '\\"', "}", '"', ",", '"x":', "1", "1", "}"]
"""Pieces that are members and values of the events themselves, twice in a row, or marks of JSON."""


def text_event(path):
    if path == CHAT:
        return chunk(delta={"content": "so"})
    if path == MESSAGES:
        return block("delta", 9, delta={"type": "text_delta", "text": "so"})
    return event({"type": "response.output_text.delta", "output_index": 9, "delta": "so"})


WRITERS = {
    CHAT: lambda texts: [chunk(piece("", name="f", call_id="a")), *(chunk(piece(text)) for text in texts)],
    MESSAGES: lambda texts: [tool_use("f"), *map(input_delta, texts)],
    RESPONSES: lambda texts: [item("added"), *(arguments_event("delta", text) for text in texts)],
}


@pytest.mark.parametrize("path", WRITERS)
def test_pieces_that_look_like_the_event_around_them_are_put_together_right(path):
    text = "".join(TRICKY)
    json.loads(text)
    assert hear(path, *WRITERS[path](TRICKY), carried=None).filled == [(0, text)]


@pytest.mark.parametrize("path", WRITERS)
@pytest.mark.parametrize("pieces", [["a"] * 40, ["é", "\\n", "😀"] * 10, [str(number) for number in range(50)]])
def test_many_events_of_one_frame_are_read_as_one_by_one(path, pieces):
    texts = ['{"x":"', *pieces, '"}']
    assert hear(path, *WRITERS[path](texts), carried=None).filled == [(0, "".join(texts))]
    two_at_once = WRITERS[path](texts)
    joined = [b"".join(two_at_once[at : at + 2]) for at in range(0, len(two_at_once), 2)]
    assert hear(path, *joined, carried=None).filled == [(0, "".join(texts))]


def test_the_frame_of_a_block_means_nothing_when_that_has_ended():
    delta = input_delta('{"x":"')
    reads = [tool_use("f"), delta, input_delta("a"), input_delta('"}'), block("stop"), input_delta("a")]
    ear = hear(MESSAGES, *reads, message_end("tool_use") + event({"type": "message_stop"}))
    assert (ear.filled, ear.voided, ear.end) == ([(0, '{"x":"a"}')], [], "clean")


def test_a_read_that_brings_a_piece_and_an_end_is_not_taken_for_a_piece_alone():
    last = chunk(piece("1")) + chunk(finish="length", usage=USED)
    ear = hear(CHAT, chunk(piece('{"x":', name="f", call_id="a")), last, chunk(piece("}")), END)
    assert (ear.filled, ear.end) == ([(0, '{"x":1}')], "length")


def test_a_piece_that_is_no_string_any_more_is_left_to_the_parser():
    reads = [chunk(piece(text)) for text in ('{"x":"', "a", "b")]
    broken = reads[1].replace(b'"a"', b'"a""b"')
    ear = hear(CHAT, chunk(piece(name="f", call_id="a")), *reads, broken, chunk(piece('"}')), END)
    assert (ear.filled, ear.end) == ([(0, '{"x":"ab"}')], "broken")


def test_there_is_no_frame_around_a_piece_that_stands_there_twice_or_is_spelled_otherwise():
    assert Frame.around(b'{"a":"x","b":1}', (0, 0, "x")) is not None
    assert Frame.around(b'{"a":"y","b":1}', (0, 0, "x")) is None
    assert Frame.around(b'{"a":"\\u0078"}', (0, 0, "x")) is None
    assert Frame.around(b'{"a":"\\ud83d"}', (0, 0, "\ud83d")) is None


@pytest.mark.parametrize("num", [0, 1, MAX_UNREAD - 1, MAX_UNREAD, 3 * MAX_UNREAD, 100])
def test_the_end_is_found_behind_any_number_of_reads_of_text(num):
    whole = chunk(piece("{}", name="f", call_id="a"))
    ends = [chunk(finish="content_filter"), chunk(usage=USED), DONE]
    assert hear(CHAT, whole, *[text_event(CHAT)] * num, *ends).end == "filtered"
    assert hear(CHAT, whole, *[text_event(CHAT)] * num, END).end == "clean"
    assert hear(CHAT, whole, *[text_event(CHAT)] * num, ends[0], b"data: [DO", b"NE]\n\n").end == "filtered"


def test_of_several_choices_the_end_of_the_first_is_known_however_long_ago_it_was():
    calls = [chunk(piece("{}", name="f", call_id="a"), choice=choice) for choice in (0, 1)]
    reads = [*calls, chunk(finish="length", choice=0), *[text_event(CHAT)] * 100, chunk(finish="stop", choice=1), DONE]
    assert hear(CHAT, *reads, given=body(CHAT, n=2)).end == "length"
