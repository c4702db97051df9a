"""What every API's answers are made of: the head of a call, its token counts, and the writer that puts tokens into words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from turnwise.engines.sim.script import Piece, Script

Json = dict[str, Any]


class CallHead(msgspec.Struct, frozen=True):
    """What is known of an answer before its first token."""

    name: str
    """The client's `x-request-id`, else `unique`."""
    unique: str
    """32 hex digits that no other call has, on this engine or another."""
    created: int
    model: str

    def tool_call_id(self, choice: int, index: int) -> str:
        """Id of one tool call."""
        return f"call_{self.unique[:16]}_{choice}_{index}"


class Counts(msgspec.Struct, frozen=True):
    """Tokens of a whole call; `cached` and `created` (full blocks that were not cached) are None where they are not told."""

    prompt: int
    completion: int
    cached: int | None
    created: int | None


class Writer(Protocol):
    """Writes an answer in the shape of one API, whole or as a stream. A stream has state, so a writer serves one call."""

    def begin(self, num_prompt: int) -> Iterable[bytes]:
        """Events that come before the first token."""

    def say(self, choice: int, piece: Piece, ended: Script | None) -> Iterable[bytes]:
        """Events of one token; `ended` is the script whose last token it is."""

    def end(self, counts: Counts) -> Iterable[bytes]:
        """Events after the last token."""

    def whole(self, scripts: Sequence[Script], counts: Counts) -> bytes:
        """The answer that is no stream."""


def data(value: Json) -> bytes:
    """One server-sent event without a name."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def named_event(value: Json) -> bytes:
    """One server-sent event, named after its `type`."""
    return f"event: {value['type']}\n".encode() + data(value)
