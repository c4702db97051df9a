"""How raw parts of a body become the segments of a prompt."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from turnwise.dialects.body import Body
from turnwise.types import Segment, SegmentKind

CHUNK_BYTES = 4096
"""Size of the pieces of a large message or tool list, about 1,000 tokens: two prompts that part ways inside one huge
message still share the pieces before, and 32 MiB are 8,192 digests, not a million."""

WHOLE_UP_TO_BYTES = 8192
"""A part up to this size stays one segment. Below two chunks a split finds little: agents share whole messages, and each
segment costs a digest and a lookup. The end of a part is always the end of a segment."""

TEXT_CHUNK_BYTES = 1024
"""Size of the pieces of a bare prompt, about 256 tokens. A bare prompt has no messages whose ends could be found again: what
extends it changes its last piece, so the piece is what a continued prompt fails to recognise."""

_CACHE_CONTROL = b'"cache_control"'
_CACHE_CONTROL_MEMBER = re.compile(
    _CACHE_CONTROL
    + rb'[ \t\n\r]*:[ \t\n\r]*(null|\{(?:[ \t\n\r]*"\w+"[ \t\n\r]*:[ \t\n\r]*(?:"[^"\\]*"|\w+)[ \t\n\r]*,?)*+[ \t\n\r]*\})'
    rb"([ \t\n\r]*,[ \t\n\r]*)?"
)
_WHITESPACE = b" \t\n\r"
_COMMA, _BRACE = b",{"


def split(kind: SegmentKind, raw: bytes | memoryview) -> Iterator[Segment]:
    """One segment, or fixed-size pieces of it where it is large; the pieces joined are `raw`."""
    return chunks(kind, raw, CHUNK_BYTES) if len(raw) > WHOLE_UP_TO_BYTES else iter((Segment(kind, bytes(raw)),))


def unmarked(kind: SegmentKind, raw: bytes | memoryview | None, *, is_marked: bool) -> Iterator[Segment]:
    """The segments of one part less its `cache_control` markers; none where there is no such part.

    `is_marked` is whether the body holds any marker at all, which most bodies do not.
    """
    if raw is None:
        return iter(())
    return split(kind, without_cache_control(raw) if is_marked else raw)


def has_markers(body: Body) -> bool:
    """Whether anything in a body looks like a `cache_control` marker."""
    return _CACHE_CONTROL in body.document


def chunks(kind: SegmentKind, raw: bytes | memoryview, chunk_bytes: int) -> Iterator[Segment]:
    """Pieces of `chunk_bytes` counted from the start, so that text which extends another repeats all but its last piece."""
    view = memoryview(raw)
    return (Segment(kind, bytes(view[at : at + chunk_bytes])) for at in range(0, len(view), chunk_bytes))


def chunks_at_commas(kind: SegmentKind, raw: bytes, chunk_bytes: int) -> Iterator[Segment]:
    """Pieces of at most `chunk_bytes` (more only where no comma comes) that end behind a comma, the last at the end.

    A cut inside a number would let `[1,2` be taken for the start of both `[1,23]` and `[1,24]`.
    """
    at = 0
    while len(raw) - at > chunk_bytes:
        comma = raw.rfind(b",", at, at + chunk_bytes)
        end = (comma if comma >= 0 else raw.find(b",", at)) + 1
        if not end:
            break
        yield Segment(kind, raw[at:end])
        at = end
    yield Segment(kind, raw[at:])


def root(model: str, body: Body, names: Iterable[str]) -> bytes:
    """What keeps prompts apart that agree in text: model and the named arguments, each with its length before it.

    The lengths make it impossible for one argument's bytes to stand in for another's.
    """
    parts = (model.encode(), *(bytes(body.raw(name) or b"") for name in names))
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)


def template(body: Body, names: Iterable[str], *, defaults: Collection[tuple[str, bytes]] = ()) -> Iterator[Segment]:
    """The arguments that change how messages are rendered, in the order of `names`; no segment where none is given.

    An argument that says what holds without it anyway (`defaults`, by name and spelling) is left out, so that a client that
    spells it out now and then keeps its prefix.
    """
    given = ((name, bytes(body.raw(name) or b"")) for name in names)
    text = b",".join(b'"%b":%b' % (name.encode(), raw) for name, raw in given if raw and (name, raw) not in defaults)
    if text:
        yield from split(SegmentKind.TEMPLATE, text)


def without_cache_control(raw: bytes | memoryview) -> bytes | memoryview:
    """`raw` less its `cache_control` markers, at any depth, each with the comma that goes with it; all else as it is.

    Clients move this marker to the newest message on every turn, and no chat template renders it. Only what looks like the
    marker goes (`null` or a flat object that says `ephemeral`): a tool may well have a parameter of that name.
    """
    text = bytes(raw)
    if _CACHE_CONTROL not in text:
        return raw
    kept: list[bytes] = []
    done = at = 0
    while match := _CACHE_CONTROL_MEMBER.search(text, at):
        span = _marker(text, match)
        if span is None:
            at = match.start() + len(_CACHE_CONTROL)  # what it was taken to hold may hold a marker
            continue
        kept.append(text[done : span[0]])
        done, at = span[1], match.end()
    kept.append(text[done:])
    return b"".join(kept)


def _marker(text: bytes, match: re.Match[bytes]) -> tuple[int, int] | None:
    """From where to where a marker goes, the comma that goes with it included; None where it only looks like one."""
    if match[1] != b"null" and b'"ephemeral"' not in match[1]:
        return None
    before = match.start() - 1
    while text[before] in _WHITESPACE:
        before -= 1
    # Within a string the quote would be escaped, so it is a backslash that stands before it there.
    if text[before] == _COMMA:
        return before, match.end(1)
    return (match.start(), match.end()) if text[before] == _BRACE else None
