"""A trace as replay sees it, whatever file it came from."""

from __future__ import annotations

import random
from array import array
from operator import itemgetter

import msgspec

MAX_TOKENS = 1 << 24
"""Longest prompt or answer believed of a file."""


class TraceError(Exception):
    """A file that is no trace, or a broken one; `line` is None where the file has no lines."""

    def __init__(self, file: str, line: int | None, problem: str) -> None:
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {problem}")


class TraceCall(msgspec.Struct, frozen=True):
    """One call to a model: sizes in tokens, times in seconds."""

    at_s: float
    """When it came, since the first call of the trace (of its session, where the trace has no common clock)."""
    think_s: float
    """How long its client waited after the calls that it follows had ended."""
    after: tuple[int, ...]
    """Numbers of those calls within the session."""
    prompt_tokens: int
    output_tokens: int
    blocks: array[int]
    """The full blocks of the prompt; an id covers all before it, so equal ids mean equal prefixes. Below 2**60."""
    body: bytes | None = None
    """`"prompt": ...` or `"messages": ...` in JSON, where the trace has the text."""

    @property
    def is_completion(self) -> bool:
        """Whether `body` is a bare prompt."""
        return self.body is not None and self.body.startswith(b'"prompt"')


class TraceSession(msgspec.Struct, frozen=True):
    """Calls of one user or agent, in the order in which they came."""

    name: str
    calls: tuple[TraceCall, ...]


class Trace(msgspec.Struct, frozen=True):
    """All sessions of a trace, by their first call."""

    name: str
    format: str
    block_size: int
    has_clock: bool
    """Whether arrivals of different sessions can be compared."""
    sessions: tuple[TraceSession, ...]

    @property
    def num_calls(self) -> int:
        """Calls of all sessions."""
        return sum(len(session.calls) for session in self.sessions)

    def sample(self, count: int, seed: int) -> Trace:
        """The first `count` sessions of a shuffle over those with two calls or more."""
        chosen = [session for session in self.sessions if len(session.calls) > 1]
        random.Random(seed).shuffle(chosen)  # noqa: S311 - reproducible on purpose
        return msgspec.structs.replace(self, sessions=tuple(chosen[:count]))

    def first(self, num_calls: int) -> Trace:
        """The first calls: by time where the trace has a clock, else session by session. `num_calls` is at least 1."""
        calls = [(call.at_s, number) for number, session in enumerate(self.sessions) for call in session.calls]
        if self.has_clock:
            calls.sort(key=itemgetter(0))
        left = [0] * len(self.sessions)
        for _at_s, number in calls[:num_calls]:
            left[number] += 1
        kept = (
            msgspec.structs.replace(session, calls=session.calls[:count])
            for session, count in zip(self.sessions, left, strict=True)
            if count
        )
        return msgspec.structs.replace(self, sessions=tuple(kept))
