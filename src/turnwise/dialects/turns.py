"""The turns of a conversation: the long list in a body, whose elements stay raw."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from turnwise.dialects import markers
from turnwise.dialects.body import Body
from turnwise.dialects.fold import Folder
from turnwise.errors import ClientFault
from turnwise.types import Raw, SegmentKind

MAX_TURNS = 50_000
"""Each turn costs about a microsecond: without a bound, 32 MiB of empty ones would hold the loop for ten seconds."""

MAX_HEADS = 1024
"""Beginnings of messages whose role is remembered. Clients write a few dozen."""

HEAD_BYTES = 20
"""Length of such a beginning: that of `{"role": "assistant"`."""

FOLDED_FROM_BYTES = 12 * 1024
"""Size of a body from which a second pass over its turns costs more than folding it."""

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

_TURNS = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGE = msgspec.json.Decoder(_Message)
_kind_by_head: dict[bytes, SegmentKind] = {}


class TurnList:
    """The member of a body that holds its turns; `noun` is what messages call them."""

    def __init__(self, name: str, noun: str) -> None:
        self._name = name
        self._noun = noun
        self._folder = Folder(name)

    def open(self, document: bytes) -> Body:
        """A body with its turns; raises `ClientFault` as `Body` does."""
        return Body(document, fold=self._folder.fold(document) if len(document) >= FOLDED_FROM_BYTES else None)

    def read(self, body: Body) -> Sequence[Raw]:
        """The raw turns; raises `ClientFault` where they are missing, none, too many or no list."""
        turns = body.typed(self._name, _TURNS, f"a list of {self._noun}") if body.fold is None else body.fold.turns
        if turns is None:
            raise body.fault(self._name, "is missing")
        if not turns:
            raise body.fault(self._name, "must not be empty")
        if len(turns) > MAX_TURNS:
            raise body.fault(self._name, f"must not hold more than {MAX_TURNS} {self._noun}")
        return turns


def kinds(messages: Sequence[Raw], body: Body | None = None) -> list[SegmentKind]:
    """What each message is by its role; raises `ClientFault` where that is not said.

    A body that is folded tells where they begin, which is cheaper to look at than each of them.
    """
    if body is None or body.fold is None:
        heads = [bytes(message)[:HEAD_BYTES] for message in messages]
    else:
        document = body.document
        heads = [document[start : start + HEAD_BYTES] for start in body.fold.starts]
    try:
        return [_kind_by_head[head] for head in heads]
    except KeyError:
        return [_learn_kind(*said, position) for position, said in enumerate(zip(heads, messages, strict=True))]


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


def unmarked(body: Body, turns: Sequence[Raw], marks: Sequence[int]) -> Sequence[Raw]:
    """The raw turns less their `cache_control` markers, which stand at `marks` in the body."""
    if not marks:
        return turns
    if body.fold is None:
        return [markers.without_cache_control(turn) for turn in turns]
    raws: list[Raw] = list(turns)
    for position in {bisect_right(body.fold.starts, mark) - 1 for mark in marks}:
        if position >= 0:
            raws[position] = markers.without_cache_control(turns[position])
    return raws
