"""What engines have to say of our calls: their own spans tell the ledger the time in their queue, in prefill and in decode.

An engine's span is a child of our span of the attempt, whose id is a digest that cannot be turned back into a call; so finished
calls are remembered by it, bounded, from the moment that an engine is first heard.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from turnwise import span_names as names
from turnwise.errors import ClientFault
from turnwise.proxy.programs.spans import attempt_span
from turnwise.proxy.programs.values import Call, Ended, EngineTimes, Key
from turnwise.types import CallId, ProgramId

MAX_CALLS = 16_384
"""Finished calls that are remembered, 300 bytes each: an engine tells of them within seconds."""

MAX_BYTES = 16 * 1024 * 1024
"""Largest request once it is unpacked."""

_GZIP = 31
"""The window of zlib, with the frame of gzip about it."""

Tell = Callable[[ProgramId, CallId, EngineTimes], bool]
"""Puts down what an engine said of a call; False where that is not remembered any more."""


class Heard(msgspec.Struct):
    """What has been heard of engines so far."""

    matched: int = 0
    """Spans that were found to be of a call, whose ledger now knows."""
    unmatched: int = 0
    """Spans of an engine's requests that are of no finished call of ours."""
    other: int = 0
    """Spans of other things, which are only sent on."""
    malformed: int = 0
    """Requests that were refused."""


class EngineSpans:
    """Takes in requests of OTLP from engines; hears of calls as they end (`ProgramListener`).

    `send_on` is given each request as it came, for the backend that gets our own spans; None where there is none.
    """

    def __init__(self, tell: Tell, send_on: Callable[[bytes], None] | None) -> None:
        self.heard = Heard()
        self._tell = tell
        self._send_on = send_on
        self._is_listening = False
        self._calls: dict[bytes, tuple[ProgramId, CallId]] = {}

    def call_ended(self, key: Key, call: Call) -> None:
        """See `ProgramListener.call_ended`."""
        if self._is_listening and key.is_sampled:
            self._calls[attempt_span(call.call_id, call.attempt)] = (key.id, call.call_id)
            if len(self._calls) > MAX_CALLS:
                del self._calls[next(iter(self._calls))]

    def program_ended(self, ended: Ended) -> None:
        """See `ProgramListener.program_ended`: its calls told all there is to know."""

    def take(self, body: bytes, encoding: str = "", *, sends_on: bool = True) -> None:
        """Read an `ExportTraceServiceRequest`, of content encoding `gzip` or none; a sibling sends it on without `sends_on`.

        Raises `ClientFault` naming what is wrong with it.
        """
        try:
            content = _unpacked(body, encoding)
            request = _decoded(content)
        except ClientFault:
            self.heard.malformed += 1
            raise
        self._is_listening = True
        for span in _spans(request):
            self._take(span)
        if sends_on and self._send_on is not None and content:
            self._send_on(content)

    def _take(self, span: Span) -> None:
        if span.name != names.ENGINE_SPAN:
            self.heard.other += 1
            return
        times = _times(span)
        known = self._calls.pop(span.parent_span_id, None)
        if known is not None and times is not None and self._tell(*known, times):
            self.heard.matched += 1
        else:
            self.heard.unmatched += 1


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise ClientFault(f"content-encoding `{encoding[:64]}` is not read; use gzip or none", status=415)
    unpacker = zlib.decompressobj(_GZIP)
    try:
        content = unpacker.decompress(body, MAX_BYTES)
    except zlib.error as error:
        raise ClientFault(f"the body is no gzip: {error}") from None
    if unpacker.unconsumed_tail:
        raise ClientFault(f"the body is larger than {MAX_BYTES} bytes once unpacked", status=413)
    if not unpacker.eof:
        raise ClientFault("the body is no gzip: it ends too soon")
    return content


def _decoded(body: bytes) -> ExportTraceServiceRequest:
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise ClientFault(f"the body is no ExportTraceServiceRequest of OTLP: {error}") from None
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            if scope.scope.name == names.SCOPE:
                raise ClientFault("these are spans of Turnwise itself: its own endpoint must not be this address")
    return request


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def _times(span: Span) -> EngineTimes | None:
    """The seconds that an engine's span tells; None where one is missing or no duration."""
    found = {pair.key: pair.value.double_value for pair in span.attributes if pair.value.WhichOneof("value") == "double_value"}
    seconds = [found.get(name, math.nan) for name in (names.ENGINE_QUEUE, names.ENGINE_PREFILL, names.ENGINE_DECODE)]
    return EngineTimes(*seconds) if all(0 <= value < math.inf for value in seconds) else None
