"""The typed blocks of a program's graph, as they are shown; who holds one is looked up in the index and never kept here."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.types import CallId


class BlockKind(StrEnum):
    """What a block of a conversation is."""

    SYSTEM = "system"
    TOOLS = "tools"
    """The tool catalogue."""
    USER = "user"
    ASSISTANT = "assistant"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    HISTORY = "history"
    """Turns from before the program began: those of earlier goals of its session, or of which the proxy saw nothing."""
    BRANCH = "branch"
    """Where a line parts from a turn that another line goes on from; it has no tokens."""


class Retention(StrEnum):
    """How long a block is worth keeping."""

    DURABLE = "durable"
    """Beyond the program: others begin with it too."""
    SESSION = "session"
    EPHEMERAL = "ephemeral"
    """Nothing will come back to it."""


class State(StrEnum):
    """Whether a block is still part of what its program goes on from."""

    LIVE = "live"
    SUPERSEDED = "superseded"
    """Its conversation goes on without it: it was rewritten, compacted, or asked for again."""
    DEAD = "dead"
    """Nobody continues it: its siblings went on, what it was spawned for was brought home, or its program has ended."""


class Block(msgspec.Struct, frozen=True, gc=False):
    """One block of a program's graph.

    `number` orders blocks by when they were first seen, and a `parent` comes before its children. `tokens` is estimated from
    bytes until an engine has counted a prompt through it; from then on the blocks of that prompt sum up to its count.
    """

    number: int
    kind: BlockKind
    tokens: int
    digest: str
    """First 8 bytes, in hex, of the digest of the prompt up to its end; of what was said, while no prompt has repeated it."""
    retention: Retention
    state: State
    parent: int | None
    """None where a conversation begins with it."""
    agent: int
    turn: int
    """The call that first had it, by its number in its agent."""
    call: CallId | None = None
    """The same by its id; None while that call runs."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """A conversation of the program, and what its client last hinted of it."""

    agent: int
    tip: int | None
    """The block that it goes on from; None where it is over."""
    calls: int
    is_running: bool
    priority: int | None = None
    output_tokens: int | None = None
    """How long its answers are expected to be."""
    speculative_prefill: bool | None = None
    cache_key: str | None = None
