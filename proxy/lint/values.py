"""What the linter gives."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.proxy.lint.causes import Cause
from turnwise.types import Prompt, SegmentKind


class Finding(msgspec.Struct, frozen=True, gc=False):
    """A prompt that broke the one before it in its conversation. It holds no text of either: prompts are private."""

    conversation: str
    """The client's name of the session, cut at 64 characters, or a hash of the first user turn."""
    cause: Cause
    segment: int
    """Of the prompt as the proxy reads it: template arguments, tools, system, each turn; a large part in pieces of 4 KB."""
    kind: SegmentKind
    segment_byte: int
    """The first byte that differs, from the start of its segment."""
    prompt_byte: int
    """The same from the start of the prompt."""
    tokens_lost: int
    """Prompt tokens behind it that could have been reused; an estimate by bytes where the engine does not say."""
    is_repeated: bool = False
    """The same cause was found in this conversation within the last minute: counted, and not worth a line."""


class Step(StrEnum):
    """How a call relates to those before it."""

    IGNORED = "ignored"
    """It has no turns by which it could be followed."""
    NEW = "new"
    """It begins a conversation, or a branch of one."""
    EXTENDS = "extends"
    """It goes on with, or repeats, a prompt as it was."""
    BREAKS = "breaks"


class Followed(msgspec.Struct, frozen=True):
    """How a call relates to the one before it; `previous` is the prompt that it broke."""

    step: Step
    finding: Finding | None = None
    previous: Prompt | None = None


class LinterStats(msgspec.Struct, frozen=True, gc=False):
    """What the linter holds, and what it had to let go; counts are since the start."""

    num_bytes: int
    num_prompts: int
    """Prompts held: a conversation has one for each of its branches."""
    num_too_large: int
    """Prompts that were not kept, as they would have taken more than a quarter of the room."""
