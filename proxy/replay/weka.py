"""Weka's traces of a coding agent: one session a line, its prompts as runs of block ids that are local to the session."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import xxhash
from msgspec import Meta

from turnwise.proxy.replay.files import read_records
from turnwise.proxy.replay.trace import MAX_TOKENS, Trace, TraceCall, TraceError, TraceSession
from turnwise.types import BLOCK_HASH_MASK

BLOCKS_PER_BLOCK = 16
"""Blocks of the file that make one of the trace: 1,024 tokens where the file has 64, fine enough for prompts of 100K."""

Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
Run = tuple[Annotated[int, Meta(ge=0, lt=1 << 40)], Annotated[int, Meta(ge=0, le=MAX_TOKENS)]]


class _Call(msgspec.Struct, kw_only=True):
    t: Annotated[float, Meta(ge=0)]
    type: str = "n"
    prompt: Tokens = msgspec.field(default=0, name="in")
    output: Tokens = msgspec.field(default=0, name="out")
    think_time: Annotated[float, Meta(ge=0)] = 0.0
    hash_rle: list[Run] | None = None
    tool_tokens: Tokens = 0
    system_tokens: Tokens = 0
    requests: list[_Call] | None = None


class _Session(msgspec.Struct):
    id: str
    block_size: Annotated[int, Meta(ge=1, le=4096)]
    tool_tokens: Tokens
    system_tokens: Tokens
    requests: list[_Call]


_SESSION = msgspec.json.Decoder(_Session)


def read(path: Path) -> Trace:
    """Read a trace; a session's subagents play their calls where the file has them. Raises `TraceError`."""
    sessions: list[TraceSession] = []
    block_size = 0
    for number, session in read_records(path, _SESSION):
        if block_size not in (0, session.block_size):
            raise TraceError(str(path), number, f"has blocks of {session.block_size} tokens, others have {block_size}")
        block_size = session.block_size
        calls = _Reader(path, number, session).calls()
        if calls:
            sessions.append(TraceSession(name=session.id, calls=tuple(calls)))
    return Trace(
        name=path.name,
        format="weka",
        block_size=block_size * BLOCKS_PER_BLOCK,
        has_clock=False,
        sessions=tuple(sessions),
    )


class _Reader:
    """Reads the calls of one session."""

    def __init__(self, path: Path, line: int, session: _Session) -> None:
        self._path = path
        self._line = line
        self._session = session
        self._salt = xxhash.xxh3_64_intdigest(f"{session.id}\0{line}".encode())

    def calls(self) -> list[TraceCall]:
        session = self._session
        calls: list[TraceCall] = []
        for at_s, call, shared in self._flat(session.requests, 0.0, session.tool_tokens, session.system_tokens):
            blocks = self._blocks(call, shared)
            calls.append(
                TraceCall(
                    at_s=at_s,
                    think_s=call.think_time if calls else 0.0,
                    after=(len(calls) - 1,) if calls else (),
                    prompt_tokens=call.prompt,
                    output_tokens=call.output,
                    blocks=blocks,
                )
            )
        return calls

    def _flat(
        self, requests: list[_Call], start_s: float, tool_tokens: int, system_tokens: int
    ) -> Iterator[tuple[float, _Call, _Shared]]:
        """Calls of an agent and, where they stand, of its subagents, with what each shares with other sessions."""
        shared: _Shared | None = None
        for call in requests:
            if call.requests is not None:
                yield from self._flat(call.requests, start_s + call.t, call.tool_tokens, call.system_tokens)
            elif call.hash_rle is None:
                raise TraceError(str(self._path), self._line, f"a request of session {self._session.id} has no `hash_rle`")
            elif sum(count for _first, count in call.hash_rle) > call.prompt // self._session.block_size:
                raise TraceError(str(self._path), self._line, f"session {self._session.id} has more blocks than tokens")
            else:
                if shared is None:
                    shared = _Shared(call.hash_rle, tool_tokens, system_tokens, self._session.block_size)
                yield start_s + call.t, call, shared

    def _blocks(self, call: _Call, shared: _Shared) -> array[int]:
        """Ids of the full blocks of a prompt, chained.

        Up to the end of tools and system prompt an id follows from their sizes alone, behind it from the session as well.
        """
        assert call.hash_rle is not None
        ids = _expand(call.hash_rle)
        num_shared = shared.length_in(ids)
        raw = memoryview(ids).cast("B")
        width = BLOCKS_PER_BLOCK * ids.itemsize
        blocks = array("q")
        chained = shared.root
        for index in range(len(ids) // BLOCKS_PER_BLOCK):
            end = (index + 1) * BLOCKS_PER_BLOCK
            if end <= num_shared:
                chained = xxhash.xxh3_64_intdigest(b"shared", chained)
            else:
                # The first block that goes beyond what is shared holds the session's own ids, so it is salted whole.
                chained = xxhash.xxh3_64_intdigest(raw[index * width : (index + 1) * width], chained ^ self._salt)
            blocks.append(chained & BLOCK_HASH_MASK)
        return blocks


class _Shared:
    """Tools and system prompt of one agent: the leading ids of its first call, as many as their tokens fill."""

    def __init__(self, runs: list[Run], tool_tokens: int, system_tokens: int, block_size: int) -> None:
        self.root = xxhash.xxh3_64_intdigest(f"{tool_tokens} {system_tokens}".encode())
        self._ids = _expand(runs)[: (tool_tokens + system_tokens) // block_size]

    def length_in(self, ids: array[int]) -> int:
        """How many leading ids of a prompt these are."""
        if ids[: len(self._ids)] == self._ids:
            return len(self._ids)
        pairs = zip(ids, self._ids, strict=False)
        return next((count for count, (ours, theirs) in enumerate(pairs) if ours != theirs), min(len(ids), len(self._ids)))


def _expand(runs: list[Run]) -> array[int]:
    ids = array("q")
    for first, count in runs:
        ids.extend(range(first, first + count))
    return ids
