"""What is read quickly is read as the strict reading of the same bytes would have it."""

import json
import re

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from turnwise.dialects import DIALECTS, markers
from turnwise.dialects.body import Body
from turnwise.dialects.chat import ChatDialect
from turnwise.dialects.fold import PLACE, Folder
from turnwise.dialects.frame import MAX_FRAME_BYTES, MAX_FRAMES
from turnwise.errors import ClientFault
from turnwise.index.chains import prompt_chain
from turnwise.types import DialectName

TURNS = {DialectName.CHAT: "messages", DialectName.MESSAGES: "messages", DialectName.RESPONSES: "input"}
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
    "max_completion_tokens": st.sampled_from([7, None, "9"]),
    "stream": st.sampled_from([True, True, False, None, "yes"]),
    "stream_options": st.sampled_from([None, {}, {"include_usage": False}, {"continuous_usage_stats": True}, 1]),
    "n": st.sampled_from([1, 2, None, "2"]),
    "tool_choice": st.sampled_from(["auto", "none"]),
    "system": CONTENTS,
    "reasoning": st.just({"effort": "low"}),
    "cache_salt": st.sampled_from(["a", None]),
    "previous_response_id": st.sampled_from(["resp_1", None, 5]),
    "store": st.sampled_from([True, False, 1]),
    "thread": st.sampled_from([None, {}]),
    "tools": st.sampled_from(
        [[{"name": "f", "parameters": {"messages": [1], "max_tokens": 2}, "cache_control": None}], [{"messages": []}], None]
    ),
    "metadata": st.fixed_dictionaries({"messages": LISTS}),
    "é": st.just(1),
}
OTHERS = st.sampled_from(list(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name]))


@st.composite
def bodies(draw, turns="messages") -> bytes:
    """Bodies as clients spell them, and now and then with a member twice, an escape in a name, or odd white space."""
    said = draw(LISTS if turns == "messages" else LISTS | CONTENTS)
    pairs = [("model", draw(VALUES["model"])), (turns, said), *draw(st.lists(OTHERS, max_size=3))]
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


def with_bodies(api):
    """Some bodies of one API."""
    name, turns = api
    return st.tuples(st.just(name), st.lists(bodies(turns), min_size=1, max_size=3))


def result(read):
    """What `read` returns in plain values, or the words of the fault that it raises."""
    try:
        call = read()
    except ClientFault as fault:
        return fault.message, fault.param
    prompt = call.prompt
    facts = msgspec.structs.astuple(msgspec.structs.replace(call, prompt=None))
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


@given(st.sampled_from(list(TURNS.items())).flatmap(with_bodies), st.booleans())
@example((DialectName.CHAT, [b'{"model":"m","messages":[{"role":"user"}],"stop":1}']), True)
@example((DialectName.CHAT, [b'{"stream":true,"model":"m","messages":[{"role":"user"}],"stream_options":{}}']), True)
@example((DialectName.CHAT, [b'{"stream_options":{},"model":"m","messages":[{"role":"user"}],"stream":true}']), True)
@example((DialectName.CHAT, [b'{"model":"m","messages":[{"role":"user"}],"max_tokens":1,"max_tokens":1}']), False)
@example((DialectName.CHAT, [b'{"model":"m","messages":[{"role":"user"}],"messages":[{"role":"user"}]}']), False)
@example((DialectName.CHAT, [b'{"x":{"messages":[{"role":"user"}]},"model":"m","messages":[{"role":"user"}]}']), False)
@example((DialectName.CHAT, [b'{"model":"m","messages":[123],"messages":[1,3]}', b'{"model":"m","messages":[1,3]}']), False)
def test_bodies_are_read_as_in_full_the_first_time_and_when_their_frame_is_known(given_bodies, splice_usage):
    name, documents = given_bodies
    dialect = DIALECTS[name]
    for document in documents * 2:
        assert result(lambda document=document: dialect.read(document, (), splice_usage=splice_usage)) == result(
            lambda document=document: dialect.read_in_full(document, splice_usage=splice_usage)
        )


def test_calls_that_differ_in_their_turns_alone_share_a_frame():
    dialect = ChatDialect()
    for separators in ((",", ":"), (", ", ": ")):
        for number in range(3):
            tree = {"model": "m", "stream": True, "messages": [{"role": "user", "content": str(number)}], "max_tokens": 5}
            call = dialect.read(json.dumps(tree, separators=separators).encode(), (), splice_usage=True)
            assert json.loads(call.body) == {**tree, "stream_options": {"include_usage": True}}
    assert [len(frames.known) for frames in dialect.frames] == [0, 2]


def test_frames_that_never_come_again_are_forgotten_and_long_ones_not_kept():
    dialect = ChatDialect()
    for number in range(MAX_FRAMES + 5):
        dialect.read(b'{"model":"m%d","messages":[{"role":"user"}]}' % number, (), splice_usage=False)
    dialect.read(b'{"model":"m","messages":[{"role":"user"}],"user":"%b"}' % (b"u" * MAX_FRAME_BYTES), (), splice_usage=False)
    assert len(dialect.frames[False].known) == 5


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
    whole, rest = quick_body(document), quick_body(fold.rest)
    if isinstance(whole, str) or rest["messages"] != PLACE:
        return
    assert rest | {"messages": b""} == whole | {"messages": b""}
    assert json.loads(whole["messages"]) == [json.loads(bytes(turn)) for turn in fold.turns]


def is_utf8(document: bytes) -> bool:
    try:
        document.decode()
    except UnicodeDecodeError:
        return False
    return True


LOOKALIKES = st.sampled_from([b'"cache_control"', b'"cache_contro', b'\\"cache_control"'])


@given(st.lists(st.tuples(st.integers(0, 40_000), LOOKALIKES), max_size=6))
def test_markers_are_found_wherever_they_are_in_bodies_seen_before_and_not(placed):
    document = b""
    for gap, text in placed:
        document += b"x" * gap + text
    document += b"y" * (4 * markers.BLOCK_BYTES)
    expected = [match.start() for match in re.finditer(rb'"cache_control"', document)]
    for _ in range(2):
        assert markers.find(document) == expected
    longer = document + b'"cache_control"'
    assert markers.find(longer) == [*expected, len(document)]


@given(st.integers(0, 6), st.sampled_from(["é", "€", "😀"]), st.none() | st.tuples(st.integers(-8, 8), st.binary(max_size=2)))
def test_large_bodies_are_utf8_wherever_their_blocks_meet_a_character(offset, character, damage):
    document = b" " + b"x" * offset + character.encode() * (4 * markers.BLOCK_BYTES // len(character.encode()))
    if damage is not None:
        at = 2 * markers.BLOCK_BYTES + damage[0]
        document = document[:at] + damage[1] + document[at + 1 :]
    for _ in range(2):
        found, problem = attempt(lambda: markers.find(document))
        assert (problem is None) == is_utf8(document)
        assert found in (None, [])
