"""Server-sent events as bytes: where events and lines end, and what marks the few that matter."""

from __future__ import annotations

import re
from collections.abc import Iterator

EVENT_END = re.compile(rb"\n\r?\n|\r\r")
"""The empty line that ends an event, for each of the line ends that the format allows."""


EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
"""What a read ends with that ends with an event, as nearly every one does."""

DONE = (b"[DONE]", b"")
"""Payloads that say nothing: the one that ends a stream of OpenAI's, and none."""

USAGE_MEMBER = b'"usage":'


def has_usage(data: bytes) -> bool:
    """Whether a usage object begins in these bytes, as serialisers write it: compact or spaced.

    Neither spelling can occur inside a JSON string, where the quotes would be escaped, so text that talks of usage is no match.
    """
    return b'"usage":{' in data or b'"usage": {' in data


def last_event_end(data: bytes) -> int:
    """Offset just behind the last complete event; 0 where there is none."""
    ends = ((data.rfind(end), len(end)) for end in (b"\n\n", b"\n\r\n", b"\r\r"))
    return max((at + size for at, size in ends if at >= 0), default=0)


def payloads(lines: bytes) -> Iterator[bytes]:
    """The payloads of the `data` lines. A JSON payload takes one line: engines write none over several."""
    for line in lines.splitlines():
        if line.startswith(b"data:"):
            yield line[5:]
