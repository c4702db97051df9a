"""How raw parts of a body become the segments of a prompt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from turnwise.dialects.body import Body
from turnwise.dialects.markers import Mark, taken
from turnwise.types import Prompt, Raw, Segment, SegmentKind

CHUNK_BYTES = 4096
"""Size of the pieces of a large message or tool list, about 1,000 tokens: two prompts that part ways inside one huge
message still share the pieces before, and 32 MiB are 8,192 digests, not a million."""

WHOLE_UP_TO_BYTES = 8192
"""A part up to this size stays one segment. Below two chunks a split finds little: agents share whole messages, and each
segment costs a digest and a lookup. The end of a part is always the end of a segment."""

TEXT_CHUNK_BYTES = 1024
"""Size of the pieces of a bare prompt, about 256 tokens. A bare prompt has no messages whose ends could be found again: what
extends it changes its last piece, so the piece is what a continued prompt fails to recognise."""


class Parts:
    """The segments of a prompt while it is put together, in its order."""

    __slots__ = ("_kinds", "_raws", "marks")

    def __init__(self, kinds: Iterable[SegmentKind] = (), raws: Iterable[Raw] = ()) -> None:
        self._kinds = list(kinds)
        self._raws = list(raws)
        self.marks: list[tuple[int, Mark]] = []
        """Each marker that was taken out, and the segment that it stood in."""

    def add(self, kind: SegmentKind, raw: Raw) -> None:
        """Add one part: a segment, or pieces of it where it is large; the pieces joined are `raw`."""
        if len(raw) <= WHOLE_UP_TO_BYTES:
            self._kinds.append(kind)
            self._raws.append(raw)
        else:
            self.extend(chunks(kind, raw, CHUNK_BYTES))

    def add_unmarked(self, kind: SegmentKind, raw: Raw | None, marks: Collection[int]) -> None:
        """Add a part less its `cache_control` markers, if there is such a part; `marks` is where the body has any."""
        if raw is None:
            return
        if marks:
            first = len(self._raws)
            raw, found = taken(raw)
            self.marks += ((first + piece_at(raw, mark.at), mark) for mark in found)
        self.add(kind, raw)

    def extend(self, segments: Iterable[Segment]) -> None:
        """Add segments as they are."""
        for segment in segments:
            self._kinds.append(segment.kind)
            self._raws.append(segment.raw)

    @property
    def kinds(self) -> tuple[SegmentKind, ...]:
        """Kinds of the segments added."""
        return tuple(self._kinds)

    @property
    def raws(self) -> tuple[Raw, ...]:
        """Bytes of the segments added."""
        return tuple(self._raws)

    def prompt(self, root: bytes) -> Prompt:
        """The prompt of what was added."""
        return Prompt(root, self.kinds, self.raws)


class Arguments:
    """Arguments of one API whose raw bytes enter the prompt's digests, in a fixed order."""

    def __init__(self, *names: str, defaults: Collection[tuple[str, bytes]] = ()) -> None:
        self.names = names
        self._any_of = frozenset(names)
        self._none_given = b"0:" * len(names)
        self._defaults = defaults

    def root(self, model: str, body: Body) -> bytes:
        """What keeps prompts apart that agree in text: model and the arguments, each with its length before it.

        The lengths make it impossible for one argument's bytes to stand in for another's.
        """
        if self._any_of.isdisjoint(body.values):
            return self.root_of(model)
        parts = (model.encode(), *(bytes(body.raw(argument) or b"") for argument in self.names))
        return b"".join(b"%d:%b" % (len(part), part) for part in parts)

    def root_of(self, model: str) -> bytes:
        """The root of a body that has none of the arguments."""
        name = model.encode()
        return b"%d:%b%b" % (len(name), name, self._none_given)

    def template(self, body: Body) -> bytes:
        """What changes how messages are rendered; empty where nothing does.

        An argument that says what holds without it anyway (`defaults`, by name and spelling) is left out, so that a client that
        spells it out now and then keeps its prefix.
        """
        if self._any_of.isdisjoint(body.values):
            return b""
        given = ((name, bytes(body.raw(name) or b"")) for name in self.names)
        return b",".join(b'"%b":%b' % (name.encode(), raw) for name, raw in given if raw and (name, raw) not in self._defaults)


def num_pieces(raw: Raw) -> int:
    """Of how many segments a part is made (`Parts.add`)."""
    return 1 if len(raw) <= WHOLE_UP_TO_BYTES else -(-len(raw) // CHUNK_BYTES)


def piece_at(raw: Raw, at: int) -> int:
    """In which segment of a part its byte at an offset stands, from 0."""
    return 0 if len(raw) <= WHOLE_UP_TO_BYTES else at // CHUNK_BYTES


def chunks(kind: SegmentKind, raw: Raw, chunk_bytes: int) -> Iterator[Segment]:
    """Pieces of `chunk_bytes` counted from the start, so that text which extends another repeats all but its last piece."""
    view = memoryview(raw)
    return (Segment(kind, view[at : at + chunk_bytes]) for at in range(0, len(view), chunk_bytes))


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
