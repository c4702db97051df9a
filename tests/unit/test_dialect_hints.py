"""Hints of a body: keys, ids and wishes in its members, and cache marks with the segments at which they stand."""

import json

import pytest

from turnwise.dialects import DIALECTS
from turnwise.dialects.hints import MAX_BREAKPOINTS, MAX_NAME_BYTES
from turnwise.dialects.prompt import CHUNK_BYTES
from turnwise.index import prompt_chain
from turnwise.turns import NO_HINTS, Breakpoint, Hints
from turnwise.types import DialectName, SegmentKind

CHAT, COMPLETIONS, MESSAGES, RESPONSES = (
    DialectName.CHAT, DialectName.COMPLETIONS, DialectName.MESSAGES, DialectName.RESPONSES
)  # fmt: skip
PROMPTS = {
    CHAT: {"messages": [{"role": "user", "content": "hi"}]},
    COMPLETIONS: {"prompt": "hi"},
    MESSAGES: {"messages": [{"role": "user", "content": "hi"}]},
    RESPONSES: {"input": [{"role": "user", "content": "hi"}]},
}
UNDERSTOOD = pytest.mark.parametrize("name", list(PROMPTS))
SPELLINGS = pytest.mark.parametrize(
    "encoding", [{"separators": (",", ":")}, {}, {"indent": 1}], ids=["compact", "spaced", "long"]
)
SHORT, LONG = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
AGENT_HINTS = {"priority": -5, "osl": 700, "speculative_prefill": True}


def read(name, members, **encoding):
    return DIALECTS[name].read(json.dumps({"model": "m", **members}, **encoding).encode(), (), splice_usage=True)


def hints(name, members, **encoding):
    return read(name, {**PROMPTS[name], **members}, **encoding).hints


def text(words, mark=None):
    return {"type": "text", "text": words, **({"cache_control": mark} if mark else {})}


def user(*parts):
    return {"role": "user", "content": list(parts)}


ANSWER = {"role": "assistant", "content": "ho"}


@UNDERSTOOD
@SPELLINGS
def test_a_body_says_what_its_call_is_for(name, encoding):
    members = {
        "prompt_cache_key": "session-1",
        "metadata": {"other": [1], "user_id": '{"session_id":"s"}'},
        "nvext": {"annotations": [], "agent_hints": AGENT_HINTS},
        "stop": ["Observation:"],
    }
    said = Hints("session-1", '{"session_id":"s"}', -5, 700, speculative_prefill=True, has_stop=True)
    assert hints(name, members, **encoding) == said
    assert hints(name, members, **encoding) == said  # from the frame that is remembered


@UNDERSTOOD
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"temperature": 0},
        {"prompt_cache_key": None, "metadata": None, "stop": None, "stop_sequences": None, "nvext": None},
        {"prompt_cache_key": 5, "metadata": {"user_id": ["x"]}, "stop": 5, "stop_sequences": [1], "nvext": 7},
        {"prompt_cache_key": "", "metadata": {"user_id": ""}, "stop": "", "stop_sequences": [], "nvext": {"agent_hints": 1}},
        {"prompt_cache_key": "x" * MAX_NAME_BYTES, "metadata": {"user_id": "x" * MAX_NAME_BYTES}},
        {"nvext": {"agent_hints": {"priority": "high", "osl": -1, "speculative_prefill": 1}}},
        {"nvext": {"agent_hints": {"priority": True, "osl": 1.5, "speculative_prefill": None}}},
        {"nvext": {"agent_hints": {"priority": 2**31, "osl": 2**70}}},
        {"metadata": "user_id"},
    ],
)
def test_a_body_that_says_nothing_of_use_shares_the_hints_of_all_such_bodies(name, members):
    assert hints(name, members) is NO_HINTS


@UNDERSTOOD
def test_one_member_of_a_wrong_type_takes_no_other_with_it(name):
    members = {"nvext": {"agent_hints": {"priority": "high", "osl": 7}}, "prompt_cache_key": "k", "metadata": []}
    assert hints(name, members) == Hints(cache_key="k", output_tokens=7)


@UNDERSTOOD
@pytest.mark.parametrize("member", [{"stop": "END"}, {"stop_sequences": ["a", "b"]}])
def test_stop_sequences_of_either_name_are_told(name, member):
    assert hints(name, member) == Hints(has_stop=True)


@SPELLINGS
def test_marks_stand_at_the_segment_that_they_end(encoding):
    body = {
        "tools": [{"name": "f", "cache_control": SHORT}],
        "system": [text("one"), text("two", LONG)],
        "messages": [
            user(text("hi")),
            ANSWER,
            user(text("a", SHORT), text("b", LONG)),
            ANSWER,
            user(text("c", LONG), text("d", SHORT)),
        ],
    }
    call = read(MESSAGES, body, **encoding)
    kinds = SegmentKind.TOOLS, SegmentKind.SYSTEM
    assert call.prompt.kinds[:2] == kinds
    assert call.hints.breakpoints == (
        Breakpoint(0, 300.0), Breakpoint(1, 3600.0), Breakpoint(4, 3600.0), Breakpoint(6, 3600.0)
    )  # fmt: skip


@pytest.mark.parametrize("mark", [None, {"type": "other"}, "ephemeral", {"type": "ephemeral", "more": {}}])
def test_what_only_looks_like_a_mark_is_none(mark):
    part = {"type": "text", "text": "a", "cache_control": mark}
    assert read(MESSAGES, {"messages": [user(part)]}).hints is NO_HINTS
    assert read(MESSAGES, {"messages": [user(text('{"cache_control":{"type":"ephemeral"}}'))]}).hints is NO_HINTS


def test_a_mark_in_a_long_part_stands_at_its_piece():
    long = "x" * (CHUNK_BYTES - 100)
    system = [text(long), text(long), text(long, SHORT), text(long), text("end", LONG)]
    call = read(MESSAGES, {"system": system, "messages": [user(text("a")), user(*system), user(text("b", SHORT))]})
    kinds = call.prompt.kinds
    num_pieces = kinds.index(SegmentKind.USER)
    assert num_pieces == 4
    places = [mark.segment for mark in call.hints.breakpoints]
    assert places == [2, 3, num_pieces + 3, len(kinds) - 2, len(kinds) - 1]
    unmarked = b"".join(map(bytes, call.prompt.raws))
    assert b"cache_control" not in unmarked


def test_only_the_last_of_many_marks_are_kept():
    turns = [user(text("a", SHORT)) for _ in range(MAX_BREAKPOINTS + 4)]
    marks = read(MESSAGES, {"messages": turns}).hints.breakpoints
    assert [mark.segment for mark in marks] == list(range(4, MAX_BREAKPOINTS + 4))


@pytest.mark.parametrize("name", [CHAT, MESSAGES, RESPONSES])
def test_a_body_that_grew_from_a_known_one_has_the_marks_of_all_its_turns(name):
    dialect = type(DIALECTS[name])()
    member = "input" if name is RESPONSES else "messages"
    turns = [user(text("a " * 9000, LONG)), ANSWER]
    for number in range(4):
        turns += [user(text(f"{number}")), ANSWER]
        now = [*turns, user(text("now", SHORT))]
        call = dialect.read(json.dumps({"model": "m", member: now, "prompt_cache_key": "k"}).encode(), (), splice_usage=True)
        assert (call.prompt.num_known > 0) == (number > 0)
        first, last = call.hints.breakpoints
        num_before = len(call.prompt.kinds) - len(now)
        assert (first, last) == (Breakpoint(num_before, 3600.0), Breakpoint(len(call.prompt.kinds) - 1, 300.0))
        assert call.hints.cache_key == "k"
        call.growth.keep(call.prompt.kinds, prompt_chain(call.prompt))
    turns += [user(text("more")), ANSWER, user(text("end"))]
    unmarked = dialect.read(json.dumps({"model": "m", member: turns}).encode(), (), splice_usage=True)
    assert (unmarked.prompt.num_known > 0, unmarked.hints) == (True, Hints(breakpoints=(first,)))


@pytest.mark.parametrize("name", [name for name in DialectName if name not in PROMPTS])
def test_apis_that_are_relayed_have_no_hints(name):
    assert read(name, {"prompt_cache_key": "k"}).hints is NO_HINTS
