"""JSON is read so that no two readers can read it differently."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.tools_gateway.trust.strict import NotStrict, is_deeper, read

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
