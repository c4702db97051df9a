"""Takes the usage chunk that our splice caused out of a stream."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from turnwise.dialects.events import EVENT_END, EVENT_ENDS, USAGE_MEMBER, has_usage, last_event_end, payloads

MAX_EVENT_BYTES = 64 * 1024
"""Longest event held back to be looked at. A usage chunk has a few hundred bytes, so a longer event is none and flows on."""


class _Chunk(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_CHUNK = msgspec.json.Decoder(_Chunk)


class UsageFilter:
    """Drops each event that has usage and an empty list of choices; every other byte passes, however the stream is cut.

    A read that ends with an event, as nearly every one does, costs one substring test and is passed on as it is.
    """

    def __init__(self) -> None:
        self._held = b""
        self._is_passing = False
        """Whether the event under way is too long to be the one, so that its bytes flow on."""

    @property
    def mark(self) -> bytes | None:
        """See `StreamFilter.mark`."""
        return None if self._held or self._is_passing else USAGE_MEMBER

    def feed(self, data: bytes) -> bytes:
        """What to write on for these bytes; holds back an incomplete event."""
        if not self._held and not self._is_passing and data.endswith(EVENT_ENDS):
            return _without_usage(data) if USAGE_MEMBER in data else data
        buffer = self._held + data
        passed = 0
        if self._is_passing:
            end = EVENT_END.search(buffer)
            if end is None:
                passed = max(0, len(buffer) - 2)  # the end of an event has up to three bytes, and two may be here
                self._held = buffer[passed:]
                return buffer[:passed]
            passed = end.end()
        complete = max(passed, last_event_end(buffer))
        self._held = buffer[complete:]
        self._is_passing = len(self._held) > MAX_EVENT_BYTES
        return buffer[:passed] + _without_usage(buffer[passed:complete])

    def close(self) -> bytes:
        """What is still held: an event that the stream left unfinished."""
        rest, self._held = self._held, b""
        return rest if self._is_passing else _without_usage(rest)


class NeverSpliced:
    """The part of a dialect whose bodies are never spliced."""

    def usage_filter(self) -> None:
        """There is nothing to take out."""


def _without_usage(events: bytes) -> bytes:
    return b"".join(_kept(events)) if has_usage(events) else events


def _kept(events: bytes) -> Iterator[bytes]:
    start = 0
    ends = [match.end() for match in EVENT_END.finditer(events)]
    for end in (*ends, len(events)):
        event = events[start:end]
        start = end
        # Empty lines before an event are not part of it: kept, they come out the same however the reads were cut.
        yield event[: len(event) - len(event.lstrip(b"\r\n"))] if _is_usage_alone(event) else event


def _is_usage_alone(event: bytes) -> bool:
    return has_usage(event) and any(_has_no_choice(payload) for payload in payloads(event))


def _has_no_choice(payload: bytes) -> bool:
    try:
        chunk = _CHUNK.decode(payload)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return chunk.choices == [] and bytes(memoryview(chunk.usage)[:1]) == b"{"
