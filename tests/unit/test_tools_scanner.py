"""Arguments are seen to close at their last brace, however they are cut."""

import json

import pytest

from turnwise.proxy.dispatch.scanner import MAX_DEPTH, Scanner

OBJECTS = [
    "{}",
    '{"a":1}',
    ' \n\t{"a": [1, {"b": "}"}], "c": "{[\\"]}"}',
    '{"a":"\\\\"}',
    '{"a":"\\\\\\""}',
    '{"a":"\\u0022}"}',
    '{"é":"😀}","b":"\\ud83d\\ude00"}',
    json.dumps({"text": 'say "}" \\ and "{"', "more": [[], [{}]]}),
]


def closes(pieces):
    """Offsets behind the close, counted over all pieces; None where it never came."""
    scanner, before = Scanner(), 0
    for text in pieces:
        end = scanner.feed(text)
        if end:
            return before + end
        assert not scanner.is_broken
        before += len(text)
    return None


@pytest.mark.parametrize("text", OBJECTS)
def test_an_object_closes_at_its_last_brace_however_it_is_cut(text):
    for size in range(1, len(text) + 1):
        assert closes([text[at : at + size] for at in range(0, len(text), size)]) == len(text)


@pytest.mark.parametrize("text", OBJECTS)
def test_an_object_is_open_until_its_last_character(text):
    assert all(closes([text[:end]]) is None for end in range(len(text)))


@pytest.mark.parametrize("behind", ["}", " ", '{"b":2}', "x", "\\"])
def test_what_stands_behind_the_close_is_left_alone(behind):
    assert closes(['{"a":', "1}" + behind]) == len('{"a":1}')


@pytest.mark.parametrize("text", ["[1]", "null", '"{}"', "1", "x{}", "}", '{"a":[1}', '{"a":{]}', "{" * (MAX_DEPTH + 1)])
def test_what_can_be_no_object_any_more_is_broken(text):
    scanner = Scanner()
    assert scanner.feed(text) == 0
    assert scanner.is_broken


def test_the_deepest_object_that_is_allowed_closes():
    text = '{"a":' * (MAX_DEPTH - 1) + "{}" + "}" * (MAX_DEPTH - 1)
    assert closes(list(text)) == len(text)


def test_empty_pieces_and_space_alone_open_nothing():
    assert closes(["", " ", "\r\n", "", "{", "", "}"]) == 5
