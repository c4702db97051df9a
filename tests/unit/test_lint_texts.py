"""What two texts are but for: the pieces of which causes are made."""

import json

import pytest

from turnwise.proxy.lint import Cause, texts
from turnwise.proxy.lint.texts import Volatile

DATE, ID, NUMBER = Volatile.DATE, Volatile.ID, Volatile.NUMBER


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("at 2026-11-21T12:30:00.123+00:00.", "at 2026-11-22T02:31:07.9+00:00.", DATE),
        ("Today is Saturday, November 21, 2026.", "Today is Sunday, November 22, 2026.", DATE),
        ("Today's date: 2026-11-21", "Today's date: 2026-11-22", DATE),
        ("It is 9:59 AM", "It is 10:00 AM", DATE),
        ("Sat Nov 21 12:27:33 UTC 2026", "Sun Nov  2 02:07:33 UTC 2027", DATE),
        ("Sat, 21 Nov 2026 12:27:33 GMT", "Mon, 3 Dec 2026 12:27:33 GMT", DATE),
        ("now 1763728053", "now 1763728099", DATE),
        ("\\n12:30\\n", "\\n12:31\\n", DATE),
        ("id 9f1c2b3a-1111-4222-8333-abcdefabcdef", "id 0a1c2b3a-1111-4222-8333-abcdefabcde0", ID),
        ("HEAD a1b2c3d", "HEAD 99b2c3e", ID),
        ("run 01JD8X0Z4W0T9Q8RE5K2M3N4P5", "run 01JD8X9Z4W0T9Q8RE5K2M3N4P9", ID),
        ("step 9 of 50", "step 10 of 50", NUMBER),
        ("$0.04 spent", "$0.12 spent", NUMBER),
        ("day 21 12:30 id a1b2c3d4", "day 22 12:31 id e1b2c3d9", NUMBER),
    ],
)
def test_what_is_new_each_time_is_told_by_the_first_that_differs(one, other, what):
    assert texts.volatile(one.encode(), other.encode()) == (what, True)
    around = [b" ".join((b"word " * 9999, text.encode(), b" word" * 9999)) for text in (one, other)]
    assert texts.volatile(*around) == (what, True)


@pytest.mark.parametrize(
    ("one", "other"),
    [("plan mode", "build mode"), ("2 apples", "3 oranges and a pear"), ("gpt4omini2024", "claude35sonnet"), ("", "x")],
)
def test_other_words_are_nothing_new_each_time(one, other):
    assert texts.volatile(one.encode(), other.encode()) == (None, False)


def test_a_date_counts_as_the_first_difference_even_where_more_differs_behind_it():
    one, other = b"Now 12:30. Open: a.py, b.py", b"Now 12:31. Open: none"
    assert texts.volatile(one, other) == (DATE, False)


@pytest.mark.parametrize(
    ("one", "other", "cause"),
    [
        ('{"a":1,"b":"x"}', '{"a": 1, "b": "x"}', Cause.JSON_SPELLING),
        ('{"a":"\\u00e9"}', '{"a":"é"}', Cause.JSON_SPELLING),
        ('{"a":1,"b":2}', '{"b":2,"a":1}', Cause.KEY_ORDER),
        ('{"required":["a","b"]}', '{"required":["b","a"]}', Cause.KEY_ORDER),
        ('{"order":["a","b"]}', '{"order":["b","a"]}', None),
        ('{"a":"x y"}', '{"a":"x  y\\n"}', Cause.WHITESPACE),
        (json.dumps({"a": '{"x":1}'}), json.dumps({"a": '{"x": 1}'}), Cause.WHITESPACE),
        (json.dumps({"a": '{"x":1,"y":2}'}), json.dumps({"a": '{"y": 2, "x": 1}'}), Cause.KEY_ORDER),
        ('{"a":1}', '{"a":2}', None),
        ("no json", "no  json", Cause.WHITESPACE),
        ("no json", "none", None),
    ],
)
def test_the_same_spelled_otherwise_is_told_from_another_text(one, other, cause):
    assert texts.respelling(one.encode(), other.encode()) is cause


@pytest.mark.parametrize(
    ("one", "other", "prefix", "suffix"),
    [(b"", b"", 0, 0), (b"a", b"b", 0, 0), (b"abc", b"abd", 2, 0), (b"abcd", b"abxcd", 2, 2), (b"aaa", b"aa", 2, 0)],
)
def test_common_ends_do_not_overlap(one, other, prefix, suffix):
    assert texts.common_prefix(one, other) == prefix
    assert texts.common_suffix(one, other, min(len(one), len(other)) - prefix) == suffix


@pytest.mark.parametrize(
    ("turn", "thinks"),
    [
        ({"content": "x", "reasoning_content": "hm"}, True),
        ({"content": "<think>hm</think> x"}, True),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}]}, True),
        ({"type": "reasoning", "summary": []}, True),
        ({"content": "x", "reasoning_content": None}, False),
        ({"content": "<think>never ended"}, False),
        ({"content": [None, 3]}, False),
        ([], False),
        (None, False),
    ],
)
def test_reasoning_is_seen_wherever_an_api_puts_it(turn, thinks):
    assert texts.has_reasoning(turn) is thinks


def test_an_unclosed_thought_repeated_a_hundred_thousand_times_is_looked_at_once():
    turn = {"content": "</think>" + "<think>" * 100_000}
    assert texts.without_reasoning(turn) == turn


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"{", b'"\\ud800"', b"[" * 100_000, b"1" * (texts.MAX_DECODED_BYTES + 1)])
def test_what_cannot_be_decoded_is_none_and_not_fatal(raw):
    assert texts.decoded(raw) is None
