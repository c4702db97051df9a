"""Traces that have the text itself: LMCache's sessions, and agent workflows as OpenTelemetry spans."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import xxhash
from msgspec import Meta

from turnwise.proxy.replay.files import read_records, read_whole
from turnwise.proxy.replay.trace import MAX_TOKENS, Trace, TraceCall, TraceError, TraceSession
from turnwise.types import BLOCK_HASH_MASK

BLOCK_SIZE = 64
BYTES_PER_TOKEN = 4
"""Tokens of a text are taken to be a quarter of its bytes; an engine that is asked counts its own."""


class _Lmcache(msgspec.Struct):
    timestamp: Annotated[int, Meta(ge=0)]
    """Microseconds."""
    input: str
    output: str
    session_id: str


class _Timed(msgspec.Struct, frozen=True):
    """A call before it is known which others it follows; seconds on the trace's own clock."""

    session: str
    began_s: float
    ended_s: float | None
    text: bytes
    body: bytes
    output_tokens: int

    def shifted(self, by_s: float) -> _Timed:
        """The same call at another time."""
        ended_s = None if self.ended_s is None else self.ended_s + by_s
        return msgspec.structs.replace(self, began_s=self.began_s + by_s, ended_s=ended_s)


_LMCACHE = msgspec.json.Decoder(_Lmcache)


def read_lmcache(path: Path) -> Trace:
    """Read one file of LMCache's agent traces, or a folder of them; raises `TraceError`."""
    files = sorted(file for file in path.iterdir() if ".jsonl" in file.name) if path.is_dir() else [path]
    if not files:
        raise TraceError(str(path), None, "has no .jsonl file in it")
    calls = [
        _Timed(
            session=line.session_id,
            began_s=line.timestamp / 1e6,
            ended_s=None,
            text=line.input.encode(),
            body=b'"prompt":' + msgspec.json.encode(line.input),
            output_tokens=_tokens(line.output.encode()),
        )
        for file in files
        for _number, line in read_records(file, _LMCACHE)
    ]
    return _trace(path, "lmcache", calls)


class _Span(msgspec.Struct):
    start_time: datetime
    end_time: datetime
    attributes: dict[str, Any]
    trace_id: str = ""


class _Spans(msgspec.Struct):
    spans: list[_Span]


_SPANS = msgspec.json.Decoder(_Spans)
_MESSAGES = msgspec.json.Decoder(list[dict[str, Any]])


def read_otel(path: Path) -> Trace:
    """Read a workflow of spans, or a folder of them that begin together; raises `TraceError`.

    Spans that are no calls to a model are left out.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    calls: list[_Timed] = []
    for file in files:
        spans = enumerate(read_whole(file, _SPANS).spans, 1)
        found = [
            _of_span(file, number, span, messages)
            for number, span in spans
            if (messages := span.attributes.get("gen_ai.input.messages")) is not None
        ]
        start_s = min((call.began_s for call in found), default=0.0)
        calls += [call.shifted(-start_s) for call in found]
    return _trace(path, "otel", calls)


def _of_span(file: Path, number: int, span: _Span, messages: Any) -> _Timed:
    def fail(problem: str) -> TraceError:
        return TraceError(str(file), None, f"span {number} {problem}")

    attributes = span.attributes
    encoded = messages.encode() if isinstance(messages, str) else msgspec.json.encode(messages)
    try:
        read = _MESSAGES.decode(encoded)
    except msgspec.DecodeError as error:
        raise fail(f"has `gen_ai.input.messages` that are not a list of messages: {error}") from None
    start_s, end_s = _seconds(span.start_time), _seconds(span.end_time)
    if end_s < start_s:
        raise fail("ends before it starts")
    output = attributes.get("gen_ai.usage.completion_tokens")
    if not isinstance(output, int):
        said = attributes.get("gen_ai.output.text", attributes.get("gen_ai.output.messages", ""))
        output = _tokens(said.encode() if isinstance(said, str) else msgspec.json.encode(said))
    texts = b"\n".join(msgspec.json.encode(message) for message in read)
    return _Timed(
        session=str(attributes.get("exgentic.session.id") or span.trace_id or file.stem),
        began_s=start_s,
        ended_s=end_s,
        text=texts,
        body=b'"messages":' + encoded,
        output_tokens=output,
    )


def _seconds(time: datetime) -> float:
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _trace(path: Path, name: str, timed: Iterable[_Timed]) -> Trace:
    by_session: dict[str, list[_Timed]] = {}
    for call in sorted(timed, key=lambda call: call.began_s):
        by_session.setdefault(call.session, []).append(call)
    if not by_session:
        raise TraceError(str(path), None, "has no calls to a model in it")
    start_s = min(calls[0].began_s for calls in by_session.values())
    sessions = (TraceSession(name=session, calls=_linked(calls, start_s)) for session, calls in by_session.items())
    return Trace(name=path.name, format=name, block_size=BLOCK_SIZE, has_clock=True, sessions=tuple(sessions))


def _linked(timed: list[_Timed], start_s: float) -> tuple[TraceCall, ...]:
    """Calls in order of time; each follows those that had ended when it began, or where ends are unknown the one before it."""
    calls: list[TraceCall] = []
    for number, call in enumerate(timed):
        ended = [other for other in range(number) if (end := timed[other].ended_s) is not None and end <= call.began_s]
        if call.ended_s is None and number:
            ended = [number - 1]
        last_s = max((_known_end(timed[other]) for other in ended), default=timed[0].began_s)
        calls.append(
            TraceCall(
                at_s=call.began_s - start_s,
                think_s=call.began_s - last_s,
                after=tuple(ended),
                prompt_tokens=_tokens(call.text),
                output_tokens=call.output_tokens,
                blocks=_blocks(call.text),
                body=call.body,
            )
        )
    return tuple(calls)


def _known_end(call: _Timed) -> float:
    return call.began_s if call.ended_s is None else call.ended_s


def _tokens(text: bytes) -> int:
    return min(MAX_TOKENS, -(-len(text) // BYTES_PER_TOKEN))


def _blocks(text: bytes) -> array[int]:
    width = BLOCK_SIZE * BYTES_PER_TOKEN
    view = memoryview(text)
    blocks = array("q")
    chained = 0
    for at in range(0, len(text) - width + 1, width):
        chained = xxhash.xxh3_64_intdigest(view[at : at + width], chained)
        blocks.append(chained & BLOCK_HASH_MASK)
    return blocks
