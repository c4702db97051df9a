"""What is read quickly is read as the strict reading of the same bytes would have it."""

import json
import re

from hypothesis import example, given
from hypothesis import strategies as st

from turnwise.dialects import DIALECTS, markers, plain, turns
from turnwise.dialects.body import Body
from turnwise.dialects.fold import Folder
from turnwise.errors import ClientFault
from turnwise.index.chains import prompt_chain
from turnwise.types import DialectName

CHAT = DIALECTS[DialectName.CHAT]
SPACES = st.sampled_from(["", "", "", " ", "\n", "\t "])
STYLES = st.sampled_from([(",", ":"), (", ", ": "), (",", ": ")])
CONTENTS = st.sampled_from(["", "hi", "é", 'say "x"', '}],"messages":[{', '"cache_control":null', "x" * 5000])
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "developer", "function", "wizard", "", None, 5])
MESSAGES = st.one_of(
    st.fixed_dictionaries({"role": ROLES, "content": CONTENTS}, optional={"cache_control": st.just({"type": "ephemeral"})}),
    st.fixed_dictionaries({"content": CONTENTS, "role": ROLES}),
    st.sampled_from([{}, {"content": "no role"}, [], "text", 1, 12, None]),
)
LISTS = st.lists(MESSAGES, max_size=4)
VALUES = {
    "model": st.sampled_from(["m", "served-model", "é", 'q"', "", None, 5]),
    "messages": LISTS | st.sampled_from([None, {}, "x", [[]]]),
    "max_tokens": st.sampled_from([1, 16, -5, None, 1.5, "9", 10**25]),
    "temperature": st.sampled_from([0, 0.7, None, "warm"]),
    "stream": st.booleans(),
    "tools": st.sampled_from([[{"name": "f", "parameters": {"messages": [1], "max_tokens": 2}}], [{"messages": []}], None]),
    "metadata": st.fixed_dictionaries({"messages": LISTS}),
    "é": st.just(1),
}
OTHERS = st.sampled_from(list(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name]))


@st.composite
def bodies(draw) -> bytes:
    """Bodies as clients spell them, and now and then with a member twice, an escape in a name, or odd white space."""
    pairs = [("model", draw(VALUES["model"])), ("messages", draw(LISTS)), *draw(st.lists(OTHERS, max_size=3))]
    pairs = draw(st.permutations(pairs))
    comma, colon = draw(STYLES)
    is_odd, is_escaped = draw(st.integers(0, 5)) == 0, draw(st.integers(0, 9)) == 0
    space = (lambda: draw(SPACES)) if is_odd else str
    members = []
    for name, value in pairs:
        key = f'"\\u{ord(name[0]):04x}{name[1:]}"' if is_escaped else json.dumps(name, ensure_ascii=False)
        text = json.dumps(value, separators=(comma, colon), ensure_ascii=draw(st.booleans()))
        members.append(f"{space()}{key}{space()}{colon}{text}{space()}")
    return f"{space()}{{{comma.join(members)}}}{space()}".encode()


def result(read):
    """What `read` returns in plain values, or the words of the fault that it raises."""
    try:
        call = read()
    except ClientFault as fault:
        return fault.message, fault.param
    prompt = call.prompt
    facts = call.body, call.model, call.is_stream, call.adds_usage, call.num_choices, call.max_tokens, call.unhashed_bytes
    return facts, prompt.root, prompt.segments, prompt_chain(prompt)


def attempt(read):
    """What `read` returns, and the words of the fault that it raises instead."""
    try:
        return read(), None
    except ClientFault as fault:
        return None, fault.message


def strict_body(document: bytes):
    """The members found by the walk alone, which is taken where nothing quicker proves that none is repeated."""
    members, problem = attempt(lambda: Body(document)._locate())
    return problem or {name: bytes(member.raw) for name, member in members.items()}


def quick_body(document: bytes):
    body, problem = attempt(lambda: Body(document))
    return problem or {name: bytes(raw) for name, raw in body.values.items()}


@given(bodies())
@example(b'{"model":"m","messages":[{"role":"user"}],"model":"m"}')
@example(b'{"messages":[{"role":"user"}], "model":"m", "messages":[{"role":"user"}]}')
@example(b'{"n": 12, "n": 1}')
@example(b'{"n": 1, "n": 12}')
@example(b'{"a":1,"":2 , "b":3}')
def test_a_member_given_twice_never_passes_for_want_of_a_walk(document):
    assert quick_body(document) == strict_body(document)


@given(bodies())
@example(b'{"model":"m","messages":[{"role":"user"}],"stop":1}')
@example(b'{"model":"m","messages":[{"role":"user"}],"max_tokens":1,"max_tokens":1}')
@example(b'{"model": "m", "messages": [{"role": "user"}, {"role": "user"}], "max_tokens": 16, "temperature": 0.5}')
def test_a_plain_body_is_read_as_in_full(document):
    assert result(lambda: CHAT.read(document, (), splice_usage=True)) == result(
        lambda: CHAT.read_in_full(document, splice_usage=True)
    )


def test_the_bodies_of_small_calls_are_plain():
    tree = {"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "max_tokens": 5}
    for separators in ((",", ":"), (", ", ": ")):
        assert plain.read(json.dumps(tree, separators=separators).encode()).max_tokens == 5
        assert plain.read(json.dumps({**tree, "stop": "x"}, separators=separators).encode()) is None


@given(bodies())
@example(b'{"messages":[123],"messages":[1,3]}')
@example(b'{"x":{"messages":[{"role":"user"}]},"messages":[{"role":"user"}]}')
@example(b'{"x":{"messages":[{"role":"user"}]},"messages":[]}')
@example(b'{"x\\"messages":[1],"messages":[1]}')
def test_a_folded_body_has_the_members_and_turns_of_the_whole(document):
    fold = Folder("messages").fold(document)
    if fold is None:
        return
    starts = [document[at : at + len(turn)] for at, turn in zip(fold.starts, fold.turns, strict=True)]
    assert starts == [bytes(turn) for turn in fold.turns]
    folded, problem = attempt(lambda: Body(document, fold=fold))
    if folded is None:
        assert problem == quick_body(document)
        return
    assert {name: bytes(raw) for name, raw in folded.values.items()} == quick_body(document)
    if folded.fold is not None:
        assert json.loads(bytes(folded.values["messages"])) == [json.loads(bytes(turn)) for turn in fold.turns]
    for name, member in folded.members.items():
        assert document[member.start : member.end] == bytes(folded.values[name])


@given(LISTS, st.sampled_from(["before", "behind"]), STYLES)
def test_a_large_body_is_read_as_its_small_parts_would_be(said, place, style):
    """The same messages in a body that is folded and in one that is not; a member that nobody renders makes the difference."""
    tree = {"model": "m", "messages": said}
    padding = {"metadata": "x" * turns.FOLDED_FROM_BYTES}
    large = json.dumps({**padding, **tree} if place == "before" else {**tree, **padding}, separators=style).encode()
    small = json.dumps(tree, separators=style).encode()
    one, other = (result(lambda raw=raw: CHAT.read_in_full(raw, splice_usage=False)) for raw in (large, small))
    assert one[1:] == other[1:]


LOOKALIKES = st.sampled_from([b'"cache_control"', b'"cache_contro', b'\\"cache_control"'])


@given(st.lists(st.tuples(st.integers(0, 40_000), LOOKALIKES), max_size=6))
def test_markers_are_found_wherever_they_are_in_bodies_seen_before_and_not(placed):
    document = b""
    for gap, text in placed:
        document += b"x" * gap + text
    document += b"y" * (4 * markers.BLOCK_BYTES)
    expected = [match.start() for match in re.finditer(rb'"cache_control"', document)]
    assert markers.find(document) == expected
    assert markers.find(document) == expected
    assert markers.find(document + b'"cache_control"') == [*expected, len(document)]
