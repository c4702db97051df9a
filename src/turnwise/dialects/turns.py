"""The turns of a conversation: the long list in a body, whose elements stay raw."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from turnwise.dialects import markers
from turnwise.dialects.markers import Mark
from turnwise.errors import ClientFault
from turnwise.types import Raw, SegmentKind

MAX_TURNS = 50_000
"""Each turn costs about a microsecond: without a bound, 32 MiB of empty ones would hold the loop for ten seconds."""

MAX_HEADS = 1024
"""Beginnings of messages whose role is remembered. Clients write a few dozen."""

KINDS = {
    "system": SegmentKind.SYSTEM,
    "developer": SegmentKind.SYSTEM,
    "user": SegmentKind.USER,
    "assistant": SegmentKind.ASSISTANT,
    "tool": SegmentKind.TOOL,
    "function": SegmentKind.TOOL,
}
"""What a turn is by the role of who speaks."""


class _Message(msgspec.Struct, gc=False):
    role: str


_ROLE_FIRST = re.compile(rb'\{[ \t\n\r]*"role"[ \t\n\r]*:[ \t\n\r]*"([a-z]+)"')
"""How most clients begin a message; matching it saves a pass over the message's bytes."""

_MESSAGE = msgspec.json.Decoder(_Message)
_kind_by_head: dict[bytes, SegmentKind] = {}
_kind_of = _kind_by_head.__getitem__


def kinds(raws: Sequence[Raw], heads: Sequence[bytes]) -> list[SegmentKind]:
    """What each message is by its role, which most clients say in its head; raises `ClientFault` where that is not said."""
    try:
        return list(map(_kind_of, heads))
    except KeyError:
        return [_learn_kind(*said, position) for position, said in enumerate(zip(heads, raws, strict=True))]


def _learn_kind(head: bytes, message: Raw, position: int) -> SegmentKind:
    first = _ROLE_FIRST.match(head)
    if first is None:
        return KINDS.get(role(message, position), SegmentKind.OTHER)
    if len(_kind_by_head) >= MAX_HEADS:
        _kind_by_head.clear()
    kind = _kind_by_head[head] = KINDS.get(first[1].decode(), SegmentKind.OTHER)
    return kind


def role(message: Raw, position: int) -> str:
    """Who speaks in `messages[position]`; raises `ClientFault` where that is not said."""
    if first := _ROLE_FIRST.match(message):
        return first[1].decode()
    try:
        return _MESSAGE.decode(message).role
    except msgspec.MsgspecError:
        is_object = bytes(memoryview(message)[:1]) == b"{"
        param, expected = (f"messages[{position}].role", "a string") if is_object else (f"messages[{position}]", "an object")
        raise ClientFault(f"`{param}` must be {expected}", param=param) from None


def marked(starts: Sequence[int], end: int, marks: Sequence[int]) -> set[int]:
    """Which turns have what looks like a `cache_control` marker; all are offsets in the body, `end` that behind the turns."""
    return {bisect_right(starts, mark) - 1 for mark in marks if starts[0] <= mark < end}


def unmarked(turns: Sequence[Raw], positions: Iterable[int]) -> tuple[list[Raw], list[tuple[int, Mark]]]:
    """The raw turns less the `cache_control` markers of those at `positions`; and each marker with its turn's position."""
    raws = list(turns)
    found: list[tuple[int, Mark]] = []
    for position in positions:
        raws[position], marks = markers.taken(turns[position])
        found += ((position, mark) for mark in marks)
    return raws, found
