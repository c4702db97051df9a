"""JSON is read so that no two readers can read it differently."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.strict_json import NotStrict, is_deeper, joined, read

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


@given(VALUES, st.booleans())
def test_whatever_json_holds_is_read_as_it_is(value, escaped):
    raw = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    assert read(raw, max_bytes=len(raw), max_depth=64) == value


@pytest.mark.parametrize("depth", [1, 2, 64])
def test_the_bound_on_depth_is_exact(depth):
    assert not is_deeper(nested(depth), depth)
    assert is_deeper(nested(depth + 1), depth)
    assert read(json.dumps(nested(depth)).encode(), max_bytes=1000, max_depth=depth) == nested(depth)
    with pytest.raises(NotStrict, match=f"deeper than {depth}"):
        read(json.dumps({"a": nested(depth)}).encode(), max_bytes=1000, max_depth=depth)


def test_brackets_in_texts_are_no_depth():
    assert read(b'["' + b"[" * 500 + b'"]', max_bytes=1000, max_depth=2) == ["[" * 500]


def test_the_bound_on_bytes_is_exact():
    assert read(b"[1]", max_bytes=3, max_depth=2) == [1]
    with pytest.raises(NotStrict, match="has 3 bytes, and at most 2"):
        read(b"[1]", max_bytes=2, max_depth=2)


def test_a_name_is_the_same_however_it_is_escaped():
    with pytest.raises(NotStrict, match="`a` is given twice"):
        read(b'{"a":1,"\\u0061":2}', max_bytes=100, max_depth=9)


REFUSED = {
    "a name twice": ('{"a":1,"a":1}', "`a` is given twice"),
    "a name twice, below": ('{"a":{"b":1,"b":2}}', "`a.b` is given twice"),
    "no number": ('{"a":NaN}', "`a` is NaN, which is no JSON"),
    "infinite": ('{"a":Infinity}', "`a` is Infinity"),
    "minus infinite": ('{"a":[1,-Infinity]}', r"`a\[1\]` is -Infinity"),
    "a number beyond all": ('{"a":1e999}', "`a` is 1e999, a number too large"),
    "digits beyond what is converted": ('{"a":' + "9" * 1001 + "}", "`a` is a number of 1001 digits"),
    "half a surrogate pair": ('{"a":"\\ud83d"}', "`a` holds half of a character"),
    "the other half": ('{"a":"\\ude00"}', "`a` holds half"),
    "halves the wrong way": ('{"a":"\\ude00\\ud83d"}', "`a` holds half"),
    "half a pair in a name": ('{"\\uD83D":1}', "the name `.*` holds half"),
    "a comma too many": ('{"a":1,}', "no JSON"),
    "no value": ('{"a":}', "no JSON: Expecting value at character 5"),
    "single quotes": ("{'a':1}", "no JSON"),
    "a comment": ('{"a":1/**/}', "no JSON"),
    "a line end in a string": ('{"a":"\n"}', "no JSON"),
    "a leading zero": ('{"a":01}', "no JSON"),
    "two objects": ('{"a":1}{"b":2}', "no JSON"),
    "a byte order mark": ('\ufeff{"a":1}', "no JSON"),
    "no JSON": ("{]}", "no JSON"),
    "nothing": ("", "no JSON"),
    "broken behind what is wrong": ('{"a":NaN,', "no JSON"),
    "deep behind what is wrong": ('{"a":NaN,"b":' + "[" * 100_000, "nested too deep"),
    "deep": ('{"a":' * 100_000, "nested too deep"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_and_said_where(text, why):
    with pytest.raises(NotStrict, match=why):
        read(text.encode(), max_bytes=10**6)


def test_what_is_not_in_utf_8_is_refused():
    with pytest.raises(NotStrict, match="not in UTF-8"):
        read('{"a":"é"}'.encode("latin-1"), max_bytes=100)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (' { "a" : [ 1 , 2.5e3 , true , null ] }\n', {"a": [1, 2500.0, True, None]}),
        ('{"a":"\\ud83d\\ude00"}', {"a": "😀"}),
        ('{"a":"\\\\ud83d"}', {"a": "\\ud83d"}),
        ('{"é":"😀"}', {"é": "😀"}),
        ('{"a":{"a":1}}', {"a": {"a": 1}}),
        ("9" * 1000, int("9" * 1000)),
        ('["\\ud83d\\ude00",' + "9" * 1000 + "]", ["😀", int("9" * 1000)]),
    ],
)
def test_what_can_be_read_in_one_way_is_taken(text, value):
    assert read(text.encode(), max_bytes=10**4) == value


def test_the_halves_of_a_surrogate_pair_may_come_in_two_pieces():
    assert joined(['{"a":"\ud83d', '\ude00"}']) == '{"a":"😀"}'
    assert joined(['{"a":"\ud83d"}']) is None
