"""What the newest turns of a prompt bring: ids of tool results, a user's words; and what a prompt's user says first."""

import json

import pytest

from turnwise.dialects import DIALECTS, quotes
from turnwise.dialects.prompt import CHUNK_BYTES, WHOLE_UP_TO_BYTES
from turnwise.dialects.tail import MAX_BYTES, MAX_SEGMENTS
from turnwise.index import prompt_chain
from turnwise.turns import MAX_ID_CHARS, NO_TAIL, Tail
from turnwise.types import DialectName, Prompt, Segment, SegmentKind

CHAT, COMPLETIONS, MESSAGES, RESPONSES = (
    DialectName.CHAT, DialectName.COMPLETIONS, DialectName.MESSAGES, DialectName.RESPONSES
)  # fmt: skip
CONVERSING = (CHAT, MESSAGES, RESPONSES)
TASK = "Say how warm it will be in Higos tomorrow."
NOTE = "<system-reminder>\nToday is Saturday.\n</system-reminder>\n"
WORDS = Tail((), is_user_last=True)


def user(*texts):
    """A user's turn, of one text or of parts."""
    kind = "text"
    return {"role": "user", "content": texts[0] if len(texts) == 1 else [{"type": kind, "text": text} for text in texts]}


def called(name, *ids):
    """The assistant's turns that call tools."""
    if name is RESPONSES:
        return [{"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"} for call_id in ids]
    if name is CHAT:
        calls = [{"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for call_id in ids]
        return [{"role": "assistant", "content": None, "tool_calls": calls}]
    blocks = [{"type": "tool_use", "id": call_id, "name": "f", "input": {}} for call_id in ids]
    return [{"role": "assistant", "content": blocks}]


def results(name, *ids, content="18C", text=None):
    """The turns that bring results, and behind them the client's `text`."""
    extra = [] if text is None else [text]
    if name is RESPONSES:
        outputs = [{"type": "function_call_output", "call_id": call_id, "output": content} for call_id in ids]
        return outputs + [user(text) for text in extra]
    if name is CHAT:
        return [{"role": "tool", "tool_call_id": call_id, "content": content} for call_id in ids] + [
            user(text) for text in extra
        ]
    blocks = [{"type": "tool_result", "tool_use_id": call_id, "content": content} for call_id in ids]
    return [{"role": "user", "content": blocks + [{"type": "text", "text": text} for text in extra]}]


def body(name, turns, **members):
    return json.dumps({"model": "m", **members, ("input" if name is RESPONSES else "messages"): turns}).encode()


def prompt(name, turns, **members):
    return DIALECTS[name].read(body(name, turns, **members), (), splice_usage=True).prompt


def tail_behind(name, before, turns):
    """The tail of what `turns` add to a conversation."""
    first = len(prompt(name, before).kinds)
    return DIALECTS[name].tail(prompt(name, before + turns), first)


@pytest.mark.parametrize("name", CONVERSING)
def test_results_are_told_in_their_order_and_are_no_words(name):
    turns = [*called(name, "a", "b"), *results(name, "b", "a")]
    assert tail_behind(name, [user("hi")], turns) == Tail(("b", "a"), is_user_last=False)


@pytest.mark.parametrize("name", CONVERSING)
def test_only_what_is_new_is_told(name):
    turns = [user("hi"), *called(name, "a"), *results(name, "a")]
    assert tail_behind(name, turns, [*called(name, "b"), *results(name, "b")]) == Tail(("b",), is_user_last=False)
    assert tail_behind(name, turns, [{"role": "assistant", "content": "Warm."}, user("And then?")]) == WORDS
    assert tail_behind(name, turns, [{"role": "assistant", "content": "It is"}]) == NO_TAIL
    assert tail_behind(name, turns, []) == NO_TAIL


@pytest.mark.parametrize("name", CONVERSING)
def test_words_beside_results_are_a_users_unless_all_of_them_are_notes_of_the_client(name):
    turns = called(name, "a")
    assert tail_behind(name, [user("hi")], turns + results(name, "a", text="Stop there.")) == Tail(("a",), is_user_last=True)
    for note in (NOTE, "", NOTE + NOTE, '<env x="1">a</env>'):
        assert tail_behind(name, [user("hi")], turns + results(name, "a", text=note)) == Tail(("a",), is_user_last=False)
    for words in (NOTE + "Stop.", "<b> is a tag", "<a>x</b>", "1 < 2", "<system-reminder>"):
        assert tail_behind(name, [user("hi")], turns + results(name, "a", text=words)) == Tail(("a",), is_user_last=True)


@pytest.mark.parametrize("name", CONVERSING)
def test_a_note_alone_is_what_the_user_says(name):
    assert tail_behind(name, [user("hi"), {"role": "assistant", "content": "ho"}], [user(NOTE)]) == WORDS


@pytest.mark.parametrize("num_bytes", [CHUNK_BYTES, WHOLE_UP_TO_BYTES, WHOLE_UP_TO_BYTES + 1, 3 * CHUNK_BYTES, 50_000, 51_001])
@pytest.mark.parametrize("name", CONVERSING)
def test_turns_in_pieces_are_put_together(name, num_bytes):
    empty = len(json.dumps(results(name, "a", content="")[0]))
    filled = results(name, "a", content="x" * (num_bytes - empty))
    assert len(json.dumps(filled[0])) == num_bytes
    turns = [*called(name, "a", "b", "c"), *filled, *results(name, "b"), *results(name, "c", content='}"{' * 3000)]
    assert tail_behind(name, [user("hi")], turns) == Tail(("a", "b", "c"), is_user_last=False)
    long = "Go on. " * (num_bytes // 7)
    assert tail_behind(name, [user("hi")], [*turns, user(long)]) == Tail(("a", "b", "c"), is_user_last=True)


@pytest.mark.parametrize("name", CONVERSING)
def test_a_body_that_grew_from_a_known_one_has_the_same_tail(name):
    dialect = type(DIALECTS[name])()
    turns = [user("hi " * 9000), *called(name, "a"), *results(name, "a")]
    call = dialect.read(body(name, turns), (), splice_usage=True)
    call.growth.keep(call.prompt.kinds, prompt_chain(call.prompt))
    grown = dialect.read(body(name, turns + called(name, "b") + results(name, "b")), (), splice_usage=True).prompt
    assert grown.num_known
    assert dialect.tail(grown, grown.num_known) == Tail(("b",), is_user_last=False)
    assert dialect.tail(grown, 0) == Tail(("a", "b"), is_user_last=False)
    assert dialect.quotes(grown) == quotes.of_texts(["hi " * 9000])


@pytest.mark.parametrize("odd", [None, 7, "", ["a"], "x" * (MAX_ID_CHARS + 1)])
@pytest.mark.parametrize("name", CONVERSING)
def test_an_id_that_is_none_is_left_out(name, odd):
    assert tail_behind(name, [user("hi")], results(name, odd, "b")) == Tail(("b",), is_user_last=False)


@pytest.mark.parametrize("name", CONVERSING)
def test_what_is_looked_at_is_bounded_and_the_newest_counts(name):
    before = [user("hi"), *results(name, "old", content="x" * MAX_BYTES)]
    assert DIALECTS[name].tail(prompt(name, [*before, *results(name, "new")]), 0) == Tail(("new",), is_user_last=False)
    many = [turn for number in range(MAX_SEGMENTS + 9) for turn in results(name, f"c{number}")]
    told = DIALECTS[name].tail(prompt(name, many), 0).results
    assert told == tuple(f"c{number}" for number in range(9, MAX_SEGMENTS + 9))


@pytest.mark.parametrize("name", CONVERSING)
@pytest.mark.parametrize("raw", [b"", b"{", b'{"content":7}', b"\xff", b"[" * CHUNK_BYTES, b'"' + b"x" * CHUNK_BYTES])
def test_segments_that_are_no_turns_bring_nothing(name, raw):
    kinds = (SegmentKind.USER, SegmentKind.TOOL)
    odd = Prompt.of(b"", [Segment(kind, raw) for kind in kinds] * 3)
    assert DIALECTS[name].tail(odd, 0).results == ()
    assert DIALECTS[name].quotes(odd) == ()


@pytest.mark.parametrize("name", CONVERSING)
def test_the_first_turn_of_the_user_is_quoted_part_by_part(name):
    system = [] if name is MESSAGES else [{"role": "system", "content": "You are an agent of many words."}]
    later = [{"role": "assistant", "content": "I do as you say."}, user("Another thing, which comes later.")]
    assert DIALECTS[name].quotes(prompt(name, [*system, user(NOTE, TASK), *later])) == quotes.of_texts([NOTE, TASK])
    assert DIALECTS[name].quotes(prompt(name, [*system, user(NOTE), user(TASK), *later])) == quotes.of_texts([NOTE, TASK])


@pytest.mark.parametrize("name", CONVERSING)
def test_a_prompt_of_which_the_user_says_nothing_quotes_nothing(name):
    assert DIALECTS[name].quotes(prompt(name, [{"role": "assistant", "content": TASK}])) == ()
    assert DIALECTS[name].quotes(prompt(name, [{"role": "user", "content": [{"type": "image", "text": 7}]}])) == ()


def test_input_that_is_a_bare_text_is_the_users():
    call = DIALECTS[RESPONSES].read(json.dumps({"model": "m", "input": TASK}).encode(), (), splice_usage=True)
    assert DIALECTS[RESPONSES].quotes(call.prompt) == quotes.of_texts([TASK])
    assert DIALECTS[RESPONSES].tail(call.prompt, 0) == WORDS


@pytest.mark.parametrize("name", [name for name in DialectName if name not in CONVERSING])
def test_apis_without_turns_say_nothing_of_them(name):
    bare = Prompt.of(b"", [Segment(SegmentKind.TEXT, json.dumps(TASK).encode())])
    assert DIALECTS[name].tail(bare, 0) == NO_TAIL
    assert DIALECTS[name].quotes(bare) == ()
