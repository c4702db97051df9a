"""What a proxy and the process that sends its spans say to one another, over that process's standard input and output.

To it go an `Order`, as a line of JSON, and then frames: a length, and an array of `Record`s in MessagePack. Its input ends
where the proxy stops, or is gone. Back comes a `Report` after each frame and each batch, as a line of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import BinaryIO

import msgspec

from turnwise.proxy.export.otlp.target import Target
from turnwise.proxy.programs.values import Call, Ended, Key
from turnwise.settings import Settings

MAX_LINE_BYTES = 1024 * 1024
"""Of a report, which has some 200."""

_LENGTH_BYTES = 4


class Loss(StrEnum):
    """Why spans were not sent."""

    FULL = "full"
    """No room was left in `traces.max_pending_bytes`."""
    REFUSED = "refused"
    """The backend will not have them."""
    UNANSWERED = "unanswered"
    """The backend could not be reached or did not take them in time."""
    BROKEN = "broken"
    """A bug of ours, of which the log has the traceback, or the process that sends spans was killed."""
    STOPPED = "stopped"
    """The process stopped before they could be sent."""


class Order(msgspec.Struct, frozen=True):
    """What to send spans of, and where."""

    settings: Settings
    target: Target
    resource: bytes
    """An encoded field that names the proxy's process."""
    anchor_ns: int
    """The moment 0 of the clock of calls, in nanoseconds since 1970."""
    worker: int | None = None
    """The proxy's number among several, for log lines."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What spans are made of: a call with its program, or a program that has ended; or an engine's request as it came."""

    key: Key | None = None
    call: Call | None = None
    ended: Ended | None = None
    request: bytes | None = None


class Report(msgspec.Struct, frozen=True):
    """What became of spans since the process began."""

    num_exported: int = 0
    """Spans of our own that were taken."""
    num_rejected: int = 0
    """Spans that the backend left out of batches that it took."""
    num_failed_batches: int = 0
    num_settled: int = 0
    """Records of which it is known what became of them."""
    pending_bytes: int = 0
    """What waits to be sent, as estimated."""
    lost: Mapping[Loss, int] = {}
    """Records whose spans were not sent."""


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Record]).decode


def frame(records: Sequence[Record]) -> bytes:
    """Pack records to a frame: 1 us for each call of 500 bytes, where packing them one by one, between calls, takes three."""
    packed = _pack(records)
    return len(packed).to_bytes(_LENGTH_BYTES) + packed


def frames(stream: BinaryIO) -> Iterator[list[Record]]:
    """Read frames until the stream ends; one that is cut off is left out."""
    while len(head := stream.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
        size = int.from_bytes(head)
        body = stream.read(size)
        if len(body) == size:
            yield _unpack(body)
