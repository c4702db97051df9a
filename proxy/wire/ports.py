"""The two sides of the data path as the pipeline sees them: who asked (`Client`) and who answers (`Upstream`).

Everything here is pushed: an upstream read becomes a call of `Sink.on_body`, which becomes a `Client.write`, in one turn of the
loop. The sockets live in `server` and `upstream`; tests put in-memory ones in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from turnwise.errors import EngineFault
from turnwise.types import Headers


class RawRequest(msgspec.Struct, frozen=True):
    """A complete request as it came: body de-chunked, header names in the client's case, Content-Length left out."""

    method: str
    target: str
    """Request target in origin form: path and query."""
    headers: Headers
    body: bytes
    arrived_at: float
    """When the head was complete, on the loop's clock."""
    read_at: float
    """When the body was complete."""
    fields: Mapping[bytes, bytes]
    """The first value of each header field, by lower-case name."""


class Origin(msgspec.Struct, frozen=True):
    """Where a replica listens."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Where the replica of a checked base URL listens."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        return cls(host=parts.hostname, port=80 if parts.port is None else parts.port)


class Outgoing(msgspec.Struct, frozen=True):
    """A request as a replica will get it; the wire adds `Host`, `Content-Length` and `Connection` only."""

    method: str
    target: str
    headers: Headers
    """The client's."""
    edits: Mapping[bytes, bytes]
    """What is changed in them, by lower-case name: a value stands in place of every field of that name."""
    body: bytes
    is_urgent: bool = False
    """Whether it leaves at once, and not with the turn's other requests: somebody waits for a first token."""
    drops: tuple[bytes, ...] = ()
    """Lower-case names of fields that are left out."""

    def fields(self) -> Headers:
        """The header fields as the replica will get them."""
        return _edited([pair for pair in self.headers if pair[0].lower() not in self.drops], self.edits)


_NO_EDITS: Mapping[bytes, bytes] = MappingProxyType({})


class ResponseHead(msgspec.Struct, frozen=True):
    """The head of an answer without hop-by-hop and framing fields; `length` is None where it is unknown before the end."""

    status: int
    phrase: bytes
    headers: Headers
    length: int | None
    edits: Mapping[bytes, bytes] = _NO_EDITS
    """What is changed in `headers` for the client, by lower-case name: a value stands in place of every field of that name."""

    def fields(self) -> Headers:
        """The header fields as the client will get them."""
        return _edited(self.headers, self.edits)


def _edited(headers: Iterable[tuple[bytes, bytes]], edits: Mapping[bytes, bytes]) -> Headers:
    return (*[pair for pair in headers if pair[0].lower() not in edits], *edits.items())


class ClientWatcher(Protocol):
    """Told about the client's connection while an answer is under way."""

    def on_gone(self) -> None:
        """The client has left; nothing that is written reaches it."""

    def on_closing(self) -> None:
        """The server closes: end the answer now, in a way that shows that it is not whole."""

    def on_pause(self) -> None:
        """The client reads slower than we write: stop reading upstream."""

    def on_resume(self) -> None:
        """The client has caught up."""


class Client(Protocol):
    """The asking side of one request; its methods never block and never raise once the client is gone."""

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed."""

    @property
    def has_started(self) -> bool:
        """Whether a response head has been written."""

    def watch(self, watcher: ClientWatcher | None) -> None:
        """Set who is told, up to the end of the answer; None forgets. A watcher set after the client left is told at once."""

    def start(self, head: ResponseHead) -> None:
        """Write the head; the connection chooses framing: the given length, else chunked, else close."""

    def write(self, data: bytes) -> None:
        """Write a part of the body."""

    @property
    def write_chunk(self) -> Callable[[bytes], None] | None:
        """Writes whole chunks of the body, framing included, up to the end of the answer; None where it is not framed so."""

    def finish(self, data: bytes = b"") -> None:
        """Write the last part of the body and end the answer; the connection may be used again."""

    def abort(self) -> None:
        """Cut the connection, so that a truncated answer cannot look whole."""


TakeRead = Callable[[bytes, float], bool]
"""Is offered a read that begins a chunk, and when it came; False where it is to be read and told to `Sink.on_body`."""


class Sink(Protocol):
    """Where an answer is pushed; after `on_end` or `on_failed` nothing more comes."""

    def on_sent(self) -> None:
        """The request has been handed to a connection of the replica."""

    def on_head(self, head: ResponseHead) -> None:
        """The head has come; 1xx heads never show."""

    def on_body(self, data: bytes) -> TakeRead | None:
        """Body bytes of one read, de-chunked; may give who is to be offered the reads that follow, as they came."""

    def on_end(self, data: bytes = b"") -> None:
        """The answer is complete; `data` is what of its body came with the end."""

    def on_failed(self, fault: EngineFault) -> None:
        """The replica refused, broke or went silent."""


class Exchange(Protocol):
    """One request under way at a replica."""

    def pause(self) -> None:
        """Stop reading from the replica."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Drop the request and its connection at once; the sink hears nothing more."""


class Upstream(Protocol):
    """The answering side: a pool of connections, or engines in memory."""

    def open(self, origin: Origin, outgoing: Outgoing, sink: Sink) -> Exchange:
        """Begin one request; returns at once. `sink` may hear `on_sent` before this call returns, and all else after."""
