"""Mooncake's traces: one call a line, with the ids of its prefix-chained blocks of 512 tokens and no session."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from turnwise.proxy.replay.files import read_records
from turnwise.proxy.replay.trace import MAX_TOKENS, Trace, TraceCall, TraceError, TraceSession

BLOCK_SIZE = 512

Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]


class _Line(msgspec.Struct):
    timestamp: Annotated[float, Meta(ge=0)]
    """Milliseconds."""
    input_length: Tokens
    output_length: Tokens
    hash_ids: list[Annotated[int, Meta(ge=0, lt=1 << 60)]]


_LINE = msgspec.json.Decoder(_Line)


def read(path: Path) -> Trace:
    """Read a trace; raises `TraceError`.

    The file names no sessions. A call is taken to go on with the one whose last full block its prompt contains; the first
    block is not evidence, since all prompts share it.
    """
    sessions: list[list[TraceCall]] = []
    session_of_last_block: dict[int, int] = {}
    for call in _calls(path):
        session = next(
            (session_of_last_block[block] for block in reversed(call.blocks) if block in session_of_last_block), None
        )
        if session is None:
            session = len(sessions)
            sessions.append([])
        calls = sessions[session]
        previous = calls[-1] if calls else None
        think_s = 0.0 if previous is None else call.at_s - previous.at_s
        after = () if previous is None else (len(calls) - 1,)
        calls.append(msgspec.structs.replace(call, think_s=think_s, after=after))
        if len(call.blocks) > 1:
            session_of_last_block[call.blocks[-1]] = session
    return Trace(
        name=path.name,
        format="mooncake",
        block_size=BLOCK_SIZE,
        has_clock=True,
        sessions=tuple(TraceSession(name=f"s{number}", calls=tuple(calls)) for number, calls in enumerate(sessions)),
    )


def _calls(path: Path) -> Iterator[TraceCall]:
    before = 0.0
    for number, line in read_records(path, _LINE):
        if line.timestamp < before:
            raise TraceError(str(path), number, "came before the line above it")
        before = line.timestamp
        num_full = line.input_length // BLOCK_SIZE
        if len(line.hash_ids) < num_full:
            raise TraceError(str(path), number, f"has {len(line.hash_ids)} blocks for {line.input_length} tokens")
        yield TraceCall(
            at_s=line.timestamp / 1000,
            think_s=0.0,
            after=(),
            prompt_tokens=line.input_length,
            output_tokens=line.output_length,
            blocks=array("q", line.hash_ids[:num_full]),
        )
