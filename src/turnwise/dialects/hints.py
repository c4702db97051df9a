"""What a body says about its call beside the prompt: keys, ids and wishes, and where the client's cache marks are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Annotated

import msgspec

from turnwise.dialects.answer import UNREADABLE
from turnwise.dialects.body import Body, T
from turnwise.dialects.markers import Mark
from turnwise.dialects.prompt import num_pieces, piece_at
from turnwise.turns import NO_HINTS, Breakpoint, Hints
from turnwise.types import Raw

MAX_NAME_BYTES = 1024
"""Longest key or id that is taken for one; the JSON text by which one client names user and session has 200 bytes."""

MAX_BREAKPOINTS = 16
"""Breakpoints of one prompt, the last ones; APIs that know them allow four."""

_NULL = msgspec.Raw(b"null")


class _Metadata(msgspec.Struct, gc=False):
    user_id: msgspec.Raw = _NULL


class _AgentHints(msgspec.Struct, gc=False):
    priority: msgspec.Raw = _NULL
    osl: msgspec.Raw = _NULL
    speculative_prefill: msgspec.Raw = _NULL


class _Extensions(msgspec.Struct, gc=False):
    agent_hints: msgspec.Raw = _NULL


_METADATA = msgspec.json.Decoder(_Metadata)
_EXTENSIONS = msgspec.json.Decoder(_Extensions)
_AGENT_HINTS = msgspec.json.Decoder(_AgentHints)
_TEXT = msgspec.json.Decoder(str)
_PRIORITY = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)])
_COUNT = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0, lt=2**31)])
_FLAG = msgspec.json.Decoder(bool)
_STOP = msgspec.json.Decoder(str | list[str])
_STOPS = ("stop", "stop_sequences")
_NAMES = frozenset(("prompt_cache_key", "metadata", "nvext", "best_of", "use_beam_search", *_STOPS))


def of_frame(body: Body, marks: Iterable[tuple[int, Mark]] = ()) -> Hints:
    """The hints in the members of a body and its marks by segment; one of a wrong type is none, and the engine's to refuse."""
    found = newest(breakpoints(marks))
    if _NAMES.isdisjoint(body.values):
        return with_breakpoints(NO_HINTS, found)
    metadata = _typed(body.raw("metadata"), _METADATA)
    extensions = _typed(body.raw("nvext"), _EXTENSIONS)
    asked = None if extensions is None else _typed(extensions.agent_hints, _AGENT_HINTS)
    if asked is None:
        asked = _AgentHints()
    hints = Hints(
        _name(body.raw("prompt_cache_key")),
        None if metadata is None else _name(metadata.user_id),
        _typed(asked.priority, _PRIORITY),
        _typed(asked.osl, _COUNT),
        _typed(asked.speculative_prefill, _FLAG),
        any(_typed(body.raw(name), _STOP) for name in _STOPS),
        found,
        (_typed(body.raw("best_of"), _COUNT) or 0) > 1 or _typed(body.raw("use_beam_search"), _FLAG) is True,
    )
    return NO_HINTS if hints == NO_HINTS else hints


def breakpoints(marks: Iterable[tuple[int, Mark]]) -> tuple[Breakpoint, ...]:
    """The breakpoints of marks in segments of these numbers, in their order; of several in one segment the longest counts."""
    found: dict[int, float] = {}
    for number, mark in marks:
        found[number] = max(mark.ttl_s, found.get(number, 0.0))
    return tuple(Breakpoint(number, found[number]) for number in sorted(found))


def of_turns(raws: Sequence[Raw], marks: Iterable[tuple[int, Mark]], first: int, *, is_cut: bool) -> tuple[Breakpoint, ...]:
    """The breakpoints of marks in turns at these positions in `raws`, whose segments begin with number `first`.

    `is_cut` is whether any of the turns is cut in pieces.
    """
    if not is_cut:
        return breakpoints((first + position, mark) for position, mark in marks)
    starts = tuple(accumulate(map(num_pieces, raws), initial=first))
    return breakpoints((starts[position] + piece_at(raws[position], mark.at), mark) for position, mark in marks)


def with_breakpoints(hints: Hints, further: tuple[Breakpoint, ...]) -> Hints:
    """The hints of a call whose turns have these breakpoints."""
    if not further:
        return hints
    return msgspec.structs.replace(hints, breakpoints=newest(hints.breakpoints + further))


def newest(marks: tuple[Breakpoint, ...]) -> tuple[Breakpoint, ...]:
    """As many of them as are kept."""
    return marks[-MAX_BREAKPOINTS:]


def _name(raw: Raw | None) -> str | None:
    return None if raw is None or len(raw) > MAX_NAME_BYTES else _typed(raw, _TEXT) or None


def _typed(raw: Raw | None, decoder: msgspec.json.Decoder[T]) -> T | None:
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        return None
