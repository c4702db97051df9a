"""Arguments are one JSON object by the strict reading, or nothing."""

import pytest

from turnwise.proxy.dispatch import strict

REFUSED = {
    "a name twice": '{"a":1,"a":1}',
    "a name twice, below": '{"a":{"b":1,"b":2}}',
    "a name twice, once as an escape": '{"a":1,"\\u0061":1}',
    "no number": '{"a":NaN}',
    "infinite": '{"a":Infinity}',
    "minus infinite": '{"a":-Infinity}',
    "a number beyond all": '{"a":1e999}',
    "half a surrogate pair": '{"a":"\\ud83d"}',
    "the other half": '{"a":"\\ude00"}',
    "halves the wrong way": '{"a":"\\ude00\\ud83d"}',
    "half a pair in a name": '{"\\uD83D":1}',
    "half a pair, unescaped": '{"a":"\ud83d"}',
    "a comma too many": '{"a":1,}',
    "no value": '{"a":}',
    "single quotes": "{'a':1}",
    "a comment": '{"a":1/**/}',
    "a line end in a string": '{"a":"\n"}',
    "a leading zero": '{"a":01}',
    "a list": "[1]",
    "two objects": '{"a":1}{"b":2}',
    "a byte order mark": '\ufeff{"a":1}',
    "no JSON": "{]}",
    "nothing": "",
    "digits beyond what is converted": '{"a":' + "9" * 5000 + "}",
    "too long": '{"a":"' + "x" * strict.MAX_BYTES + '"}',
    "too long in bytes": '{"a":"' + "é" * (strict.MAX_BYTES // 2) + '"}',
}  # fmt: skip
TAKEN = ["{}", ' { "a" : [ 1 , 2.5e3 , true , null ] }\n', '{"a":"\\ud83d\\ude00"}', '{"é":"😀"}', '{"a":{"a":1}}']


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_no_strict_object_is_refused(text):
    assert strict.arguments(text) is None


@pytest.mark.parametrize("text", TAKEN)
def test_a_strict_object_is_given_on_as_it_was_written(text):
    assert bytes(strict.arguments(text)).decode() == text


def test_the_halves_of_a_surrogate_pair_may_come_in_two_pieces():
    assert strict.whole(['{"a":"\ud83d', '\ude00"}']) == '{"a":"😀"}'
    assert strict.whole(['{"a":"\ud83d"}']) is None


def test_nesting_beyond_the_parser_is_refused_and_does_not_raise():
    assert strict.arguments('{"a":' * 100_000) is None
