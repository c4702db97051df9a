"""Bodies against plain JSON: what is read, cut out and spliced in agrees with a parser that builds the tree."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from turnwise.dialects import DIALECTS
from turnwise.dialects.body import Body
from turnwise.dialects.markers import without_cache_control
from turnwise.dialects.prompt import Parts, chunks_at_commas
from turnwise.errors import ClientFault
from turnwise.types import DialectName, SegmentKind

CHAT, COMPLETIONS = DIALECTS[DialectName.CHAT], DIALECTS[DialectName.COMPLETIONS]
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(
        ['"cache_control":null', '\\"cache_control', "{", ",", "}", 'x","cache_control":{"type":"ephemeral"}', "\\"]
    ),
)
MARKERS = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, {"ttl": "5m", "type": "ephemeral"}, None])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False), TEXTS)


def objects(children):
    plain = st.dictionaries(TEXTS, children, max_size=3)
    return st.one_of(
        plain, st.builds(lambda fields, marker: {**fields, "cache_control": marker}, plain, MARKERS), marked_first()
    )


def marked_first():
    return st.builds(lambda marker, text: {"cache_control": marker, "text": text}, MARKERS, TEXTS)


VALUES = st.recursive(LEAVES, lambda children: st.one_of(st.lists(children, max_size=3), objects(children)), max_leaves=8)
INDENTS = st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}, {"ensure_ascii": False}])
KEYS = st.sampled_from(["model", "messages", "stream", "n", "x", "é", 'q"uote', "back\\slash", "1", "12"])


def attempt(read):
    """What `read` returns, and the fault that it raises instead."""
    try:
        return read(), None
    except ClientFault as fault:
        return None, fault


def without_markers(value):
    if isinstance(value, dict):
        return {key: without_markers(item) for key, item in value.items() if key != "cache_control"}
    return [without_markers(item) for item in value] if isinstance(value, list) else value


@given(VALUES, INDENTS)
def test_removing_markers_agrees_with_removing_them_from_the_tree(value, style):
    raw = json.dumps(value, **style).encode()
    assert json.loads(without_cache_control(raw)) == without_markers(value)


@given(VALUES)
def test_a_compact_body_with_markers_has_the_bytes_of_one_without(value):
    compact = {"separators": (",", ":")}
    raw = json.dumps(value, **compact).encode()
    assert bytes(without_cache_control(raw)) == json.dumps(without_markers(value), **compact).encode()


@given(st.lists(st.tuples(KEYS, VALUES), max_size=6), INDENTS)
@example([("n", 12), ("n", 1)], {})
@example([("n", 1), ("n", 12)], {})
def test_members_are_found_where_they_are_and_repeated_ones_refused(pairs, style):
    document = ("{" + ",".join(f" {json.dumps(key)} : {json.dumps(value, **style)} " for key, value in pairs) + "}").encode()
    names = [key for key, _ in pairs]
    body, fault = attempt(lambda: Body(document))
    assert (body is None) == (len(set(names)) < len(names))
    if body is None:
        assert names.count(fault.param) > 1
    else:
        for key, value in pairs:
            member = body.members[key]
            assert document[member.start : member.end] == bytes(member.raw)
            assert json.loads(bytes(member.raw)) == value


@given(
    st.dictionaries(st.sampled_from(["include_usage", "continuous_usage_stats", "x"]), VALUES, max_size=3)
    | st.none()
    | st.sampled_from(["absent", 1, [], ""]),
    INDENTS,
)
def test_splicing_changes_include_usage_and_nothing_else(options, style):
    tree = {"model": "m", "stream_options": options, "prompt": "x", "stream": True}
    if options == "absent":
        del tree["stream_options"]
    body = json.dumps(tree, **style).encode()
    call = COMPLETIONS.read(body, (), splice_usage=True)
    if call.adds_usage:
        before = tree.get("stream_options") or {}
        assert before.get("include_usage") in (None, False)
        assert json.loads(call.body) == {**tree, "stream_options": {**before, "include_usage": True}}
    else:
        assert call.body == body


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_as_the_clients_fault(data):
    for body in (data, b'{"model":"m","messages":[' + data + b"]}", b'{"model":"m","prompt":' + data + b"}"):
        for dialect in DIALECTS.values():
            call, fault = attempt(lambda dialect=dialect, body=body: dialect.read(body, (), splice_usage=False))
            assert call.body == body if call else (fault.status == 400 and fault.param)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_object_is_read_or_refused_as_the_clients_fault(tree):
    for dialect in (CHAT, COMPLETIONS):
        body = json.dumps({"model": "m", "stream": True, **tree}).encode()
        call, fault = attempt(lambda dialect=dialect, body=body: dialect.read(body, (), splice_usage=True))
        assert call.prompt if call else fault.param


@given(st.integers(0, 30_000))
def test_pieces_joined_are_the_whole(num_bytes):
    raw = bytes(i % 251 for i in range(num_bytes))
    parts = Parts()
    parts.add(SegmentKind.USER, raw)
    assert b"".join(parts.prompt(b"root").raws) == raw


@given(st.lists(st.integers(0, 10**6), max_size=400), st.integers(1, 64))
def test_pieces_of_token_ids_joined_are_the_whole_and_end_behind_commas(ids, chunk_bytes):
    raw = json.dumps(ids).encode()
    pieces = [segment.raw for segment in chunks_at_commas(SegmentKind.TOKENS, raw, chunk_bytes)]
    assert b"".join(pieces) == raw
    assert all(piece.endswith(b",") for piece in pieces[:-1])
