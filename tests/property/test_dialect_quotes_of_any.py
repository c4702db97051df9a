"""Quotes of any arguments and any turn: what says enough is found however it is placed, and nothing raises."""

import json

from hypothesis import given
from hypothesis import strategies as st

from turnwise.dialects import DIALECTS, quotes
from turnwise.turns import MAX_QUOTES
from turnwise.types import DialectName, Prompt, Segment, SegmentKind

WORDS = st.lists(
    st.sampled_from(["see", "whether", "é", "the", "code", '"', "\\", "a:", "😀", "retries"]), min_size=3, max_size=12
)
TEXTS = WORDS.map(" ".join).filter(lambda text: len(text) >= quotes.MIN_CHARS)
PLACES = st.recursive(
    st.just("HERE"),
    lambda inner: (
        st.tuples(inner, st.text(max_size=15)).map(list) | st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=2)
    ),
    max_leaves=3,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
SPACES = st.sampled_from([" ", "  ", "\t", "\u00a0"])
SETTINGS = st.sampled_from(["{}", "\n{}\n", "Task: {}", "One.\nTask: {}\r\nTwo.", "a\n  {}  \nb"])


@given(TEXTS, PLACES, SPACES, SETTINGS, st.booleans())
def test_a_text_at_any_place_of_the_arguments_is_found_in_a_turn_that_quotes_it(text, place, space, setting, is_ascii):
    arguments = json.dumps(place, ensure_ascii=False).replace('"HERE"', json.dumps(text, ensure_ascii=is_ascii))
    turn = ["A note of the client's.", setting.format(text.replace(" ", space))]
    assert set(quotes.of_arguments(arguments)) & set(quotes.of_texts(turn))


@given(VALUES, st.binary(max_size=60), st.integers(0, 200))
def test_arguments_of_any_shape_are_read_alike_as_text_and_bytes_or_not_at_all(value, garbage, cut):
    arguments = json.dumps(value)
    found = quotes.of_arguments(arguments)
    assert found == quotes.of_arguments(arguments.encode())
    assert len(found) == len(set(found)) <= MAX_QUOTES
    assert quotes.of_arguments(arguments.encode()[:cut] + garbage) is not None


@given(
    st.sampled_from([DialectName.CHAT, DialectName.MESSAGES, DialectName.RESPONSES]),
    st.lists(
        st.tuples(st.sampled_from(SegmentKind), st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
    ),
    st.integers(0, 9),
)
def test_segments_of_any_bytes_have_a_tail_and_quotes(name, segments, first):
    prompt = Prompt.of(b"", [Segment(kind, raw) for kind, raw in segments])
    assert DIALECTS[name].tail(prompt, first).results == ()
    assert all(0 <= said < 2**64 for said in DIALECTS[name].quotes(prompt))
