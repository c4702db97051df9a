"""Takes traces over OTLP/HTTP, counts them, and answers at once, late, or not well: `python -m bench.programs.sink PORT HOW`.

`GET /` tells what it has taken. It is a process of its own, so that what it does costs the proxy nothing, and gives way to the
generator and the replicas, which share its core.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
from typing import Literal, cast, get_args

import httptools
import msgspec
import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from turnwise import yielding

How = Literal["take", "slow", "refuse"]
SLOW_S = 2.0
"""How late a slow sink answers."""


class Taken(msgspec.Struct):
    """What came: requests, spans, and bytes as they came."""

    num_requests: int = 0
    num_spans: int = 0
    num_bytes: int = 0


class Connection(asyncio.Protocol):
    """One connection of an exporter."""

    def __init__(self, how: How, taken: Taken) -> None:
        self._how = how
        self._taken = taken
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""
        self._is_gzip = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of another class

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._body, self._is_gzip = b"", False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of its head has come."""
        self._is_gzip |= (name.lower(), value.lower()) == (b"content-encoding", b"gzip")

    def on_body(self, data: bytes) -> None:
        """A part of its body has come."""
        self._body += data

    def on_message_complete(self) -> None:
        """It is whole."""
        if self._parser.get_method() == b"GET":
            self._answer(b"200 OK", msgspec.json.encode(self._taken))
            return
        self._taken.num_requests += 1
        self._taken.num_bytes += len(self._body)
        if self._how == "refuse":
            self._answer(b"503 Service Unavailable", b"")
            return
        message = ExportTraceServiceRequest.FromString(gzip.decompress(self._body) if self._is_gzip else self._body)
        self._taken.num_spans += sum(len(scope.spans) for group in message.resource_spans for scope in group.scope_spans)
        if self._how == "slow":
            asyncio.get_running_loop().call_later(SLOW_S, self._answer, b"200 OK", b"")
        else:
            self._answer(b"200 OK", b"")

    def _answer(self, status: bytes, body: bytes) -> None:
        assert self._transport is not None
        self._transport.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


async def _serve(port: int, how: How) -> None:
    taken = Taken()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(how, taken), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    yielding.give_way()
    _, said_port, said_how = sys.argv
    if said_how not in get_args(How):
        sys.exit(f"no sink is {said_how}")
    uvloop.run(_serve(int(said_port), said_how))  # type: ignore[arg-type]  # it is one of them
