"""What turns of agents carry besides text: tool calls, their results, and hints; ids and hashes, never content."""

from __future__ import annotations

import msgspec

MAX_QUOTES = 16
"""Strings of one tool call's arguments by which a prompt may be known to quote it."""


MAX_ID_CHARS = 256
"""Longest id of a tool call, or of an answer, that is taken for one; those of known APIs have 60 characters at most."""


class ToolCall(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A tool call that an answer holds.

    `quotes` are hashes of the longer strings in its arguments: a conversation whose first user turn says one of them was
    begun by this call. `id` is empty where the API gives none.
    """

    id: str
    name: str
    num_bytes: int = 0
    """Size of its arguments."""
    quotes: tuple[int, ...] = ()


class Tail(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the newest segments of a prompt add to the conversation."""

    results: tuple[str, ...] = ()
    """Ids of the tool calls whose results they bring, in their order."""
    is_user_last: bool = False
    """Whether the last of them is a user's words: no tool's result, nor a note of the client's beside one."""


NO_TAIL = Tail()


class Breakpoint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `cache_control` mark: the client will send everything up to the end of this segment again within `ttl_s`."""

    segment: int
    ttl_s: float


class Hints(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a body says about its call beside the prompt; None or empty where it says nothing."""

    cache_key: str | None = None
    """`prompt_cache_key`."""
    user_id: str | None = None
    """`metadata.user_id`: of one client, a JSON text that names the session."""
    priority: int | None = None
    """`nvext.agent_hints.priority`."""
    output_tokens: int | None = None
    """`nvext.agent_hints.osl`: how long the answer is expected to be."""
    speculative_prefill: bool | None = None
    """`nvext.agent_hints.speculative_prefill`."""
    has_stop: bool = False
    """Whether it brings stop sequences: an agent that reads tool calls out of text."""
    breakpoints: tuple[Breakpoint, ...] = ()
    is_one_of_several: bool = False
    """Whether the engine is to draw several answers and give the best: `best_of` above 1, `use_beam_search`."""


NO_HINTS = Hints()
