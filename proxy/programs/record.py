"""What is kept of one program: its finished calls packed, and its sums, so that a row of the list costs no look at them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from turnwise.events import ToolEvent
from turnwise.proxy.programs.values import Call, EngineTimes, Key, Outcome, Summary, ToolRun
from turnwise.types import CallId

PAGE_CALLS = 8
"""Finished calls that are compressed together: most of them is what they repeat of each other, names, ids and roles.

Of 430 bytes a call, 235 are left of four calls and 190 of eight. It takes 10 us a call, a sixth of all that programs cost, so
that programs of few calls, which fit into their bound as they are, are better left alone.
"""

PAGES_LOOKED_AT = 64
"""Pages in which a call is looked for of which an engine tells: it does so soon after the call's end."""

MAX_VOID_RUNS = 64
"""Void runs of one program that are kept: an answer that breaks off is rare, and a program of more is known to be ill."""

_LEVEL, _WINDOW_BITS, _MEMORY_LEVEL = 1, -11, 5
"""The fastest level, a window of 2 KB, which holds the few calls before, and no checksum: half the time of the defaults."""

_ARRAY_32 = b"\xdd"
"""How MessagePack begins an array whose length is the next four bytes."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Call, ...])


class Record(msgspec.Struct, eq=False, gc=False):
    """One program while it lives: a kilobyte with its key, 430 bytes for each of its last calls and 200 for each one before.

    A call is `started` and has `ended`, once each. Its record is kept as MessagePack, one behind the other, and each
    `PAGE_CALLS` of them compressed. Its sketch comes on top, 20 bytes a segment, or its graph, 36 bytes a row.
    """

    key: Key
    active_at: float
    """When a call last began or ended; at first, when the program began."""
    running: int = 0
    """Calls in flight."""
    is_placed: bool = False
    """Whether a replica was tried for a call that has ended, or may have been."""
    num_calls: int = 0
    """Calls that have ended."""
    num_agents: int = 0
    num_tools: int = 0
    """Tool calls that its answers hold."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reported_prompt_tokens: int = 0
    """Of calls whose engine said how many were cached."""
    completion_tokens: int = 0
    model: str = ""
    """That of the newest call which names one."""
    void_runs: tuple[ToolRun, ...] = ()
    """Runs of tools whose results were given to nobody, the `MAX_VOID_RUNS` first."""
    _pages: tuple[bytes, ...] = ()
    _packed: bytes = b""
    """The calls since the last page."""

    def started(self, agent: int, now: float) -> None:
        """A call of conversation `agent` begins."""
        self.running += 1
        self.active_at = now
        if agent >= self.num_agents:
            self.num_agents = agent + 1

    def abandoned(self) -> None:
        """A call will never end, as its worker is gone."""
        self.running -= 1
        self.is_placed = True

    def ended(self, call: Call) -> None:
        """A call has ended, of which this record is kept."""
        # What stays as it is is not set again: to set a field of a struct takes as long as five look-ups.
        prompt_tokens, cached_tokens, model = call.prompt_tokens, call.cached_tokens, call.model
        num_calls = self.num_calls + 1
        self.running -= 1
        self.active_at = call.times.ended
        self.num_calls = num_calls
        if not self.is_placed and call.replica is not None:
            self.is_placed = True
        if call.tools:
            self.num_tools += len(call.tools)
        self.prompt_tokens += prompt_tokens
        if cached_tokens is not None:
            self.reported_prompt_tokens += prompt_tokens
            if cached_tokens:
                self.cached_tokens += cached_tokens
        if call.completion_tokens:
            self.completion_tokens += call.completion_tokens
        if model is not None and model != self.model:
            self.model = model
        if num_calls % PAGE_CALLS:
            self._packed += _encoder.encode(call)
        else:
            self._pages = (*self._pages, _compress(self._packed + _encoder.encode(call)))
            self._packed = b""

    @property
    def _num_loose(self) -> int:
        """How many calls there are since the last page."""
        return self.num_calls % PAGE_CALLS

    def voided(self, event: ToolEvent, ended_at: float, *, is_expired: bool) -> None:
        """A tool ran, and its result was given to nobody; `event` is what was told of it before."""
        if len(self.void_runs) < MAX_VOID_RUNS:
            run = ToolRun(
                event.tool_call_id,
                event.tool,
                event.turn,
                event.started_at,
                ended_at,
                event.queued_at,
                is_inferred=False,
                is_ok=False,
                how=event.how,
                predicted_s=event.predicted_s,
                is_expired=is_expired,
            )
            self.void_runs = (*self.void_runs, run)

    def calls(self) -> tuple[Call, ...]:
        """The finished calls, in the order of their ends."""
        return _calls(self.num_calls, *map(_decompress, self._pages), self._packed)

    def first(self, count: int) -> Iterator[Call]:
        """The `count` first of them, a page unpacked at a time as they are taken."""
        for number in range(0, count, PAGE_CALLS):
            page = number // PAGE_CALLS
            if page < len(self._pages):
                calls = _calls(PAGE_CALLS, _decompress(self._pages[page]))
            else:
                calls = _calls(self._num_loose, self._packed)
            yield from calls[: count - number]

    def replace_engine_times(self, call_id: CallId, times: EngineTimes) -> bool:
        """Put down what the engine says of a finished call; returns False where none of the newest is that call."""
        name = call_id.encode()
        changed = _with_times(self._packed, self._num_loose, name, times)
        if changed is not None:
            self._packed = changed
            return True
        pages = self._pages
        for number in range(len(pages) - 1, max(-1, len(pages) - 1 - PAGES_LOOKED_AT), -1):
            changed = _with_times(_decompress(pages[number]), PAGE_CALLS, name, times)
            if changed is not None:
                self._pages = (*pages[:number], _compress(changed), *pages[number + 1 :])
                return True
        return False

    def summary(self, now: float, outcome: Outcome = Outcome.OPEN, waiting: int = 0, unix_zero: float = 0.0) -> Summary:
        """The program's row of the list; `waiting` is how many of its tool calls wait for their results.

        `unix_zero` is the Unix time at which the clock of calls was 0.

        The list has one for each program that is known, so that nothing is called here that need not be.
        """
        key = self.key
        return Summary(
            key.id,
            key.name,
            key.tenant,
            key.session,
            key.basis,
            outcome,
            self.model,
            now - key.started_at,
            now - self.active_at,
            self.running,
            max(0, waiting),
            self.num_calls,
            self.num_tools,
            self.num_agents,
            self.prompt_tokens,
            self.cached_tokens,
            self.completion_tokens,
            key.trace_id.hex(),
            self.reported_prompt_tokens,
            key.started_at + unix_zero,
        )


def _compress(page: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
    return compressor.compress(page) + compressor.flush()


def _decompress(page: bytes) -> bytes:
    return zlib.decompress(page, _WINDOW_BITS)


def _calls(count: int, *packed: bytes) -> tuple[Call, ...]:
    """The calls that are packed one behind the other."""
    return _decoder.decode(b"".join((_ARRAY_32, count.to_bytes(4), *packed)))


def _with_times(packed: bytes, count: int, name: bytes, times: EngineTimes) -> bytes | None:
    """Calls packed anew, one of them with these times; None where it is not among them, but linked at most."""
    if name not in packed:
        return None
    calls = _calls(count, packed)
    if all(call.call_id.encode() != name for call in calls):
        return None
    return b"".join([_encoder.encode(replace(call, engine=times) if call.call_id.encode() == name else call) for call in calls])
