"""The turns of a conversation: the long list in a body, whose elements stay raw."""

from __future__ import annotations

import re

import msgspec

from turnwise.dialects.body import Body
from turnwise.errors import ClientFault
from turnwise.types import SegmentKind

MAX_TURNS = 50_000
"""Each turn costs about a microsecond: without a bound, 32 MiB of empty ones would hold the loop for ten seconds."""

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


def read(body: Body, name: str, noun: str) -> list[msgspec.Raw]:
    """The raw elements of a list of turns; raises `ClientFault` where it is missing, empty, too long or no list."""
    turns = body.typed(name, _TURNS, f"a list of {noun}")
    if turns is None:
        raise body.fault(name, "is missing")
    if not turns:
        raise body.fault(name, "must not be empty")
    if len(turns) > MAX_TURNS:
        raise body.fault(name, f"must not hold more than {MAX_TURNS} {noun}")
    return turns


def role(message: msgspec.Raw, position: int) -> str:
    """Who speaks in `messages[position]`; raises `ClientFault` where that is not said."""
    if first := _ROLE_FIRST.match(message):
        return first[1].decode()
    try:
        return _MESSAGE.decode(message).role
    except msgspec.MsgspecError:
        is_object = bytes(memoryview(message)[:1]) == b"{"
        param, expected = (f"messages[{position}].role", "a string") if is_object else (f"messages[{position}]", "an object")
        raise ClientFault(f"`{param}` must be {expected}", param=param) from None
