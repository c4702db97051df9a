"""The tap of the pipeline itself: tells the lease what matters to it, then gets out of the way."""

from __future__ import annotations

import msgspec

from turnwise.dialects.base import Tap, Watcher
from turnwise.proxy.member import Lease
from turnwise.turns import ToolCall
from turnwise.types import Answer, Usage


class Unwatched(msgspec.Struct, frozen=True):
    """The facts of an answer that no tap watches."""

    usage: Usage | None = None
    first_token_at: float | None = None
    first_visible_at: float | None = None
    finish_reason: str | None = None
    answer: Answer | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    first_tool_at: float | None = None
    response_id: str | None = None


UNWATCHED = Unwatched()


class LeaseTap:
    """Wraps a dialect's tap (or none): ends the lease's prefill, and tells it the id of an answer that the replica keeps.

    Prefill ends with the first token, for one API sends events before it; with the first bytes where no tap can tell. The id is
    told as soon as it is seen, for a client may read or cancel a response that it is still being given, and again at the end,
    for a restart of the replica may have been noticed in between.
    """

    unread = None
    """See `Watcher.unread`: what is left to tell is told with the read that brings it."""

    __slots__ = ("_inner", "_is_prefilling", "_is_stored", "_is_watching", "_lease")

    def __init__(self, inner: Tap | None, lease: Lease, *, is_stored: bool) -> None:
        self._inner = inner
        self._lease = lease
        self._is_stored = is_stored and inner is not None
        self._is_prefilling = True
        self._is_watching = True
        """Whether anything is left to tell."""

    def on_head(self, status: int, *, is_stream: bool) -> None:
        """Pass on."""
        if self._inner is not None:
            self._inner.on_head(status, is_stream=is_stream)

    def feed(self, data: bytes, now: float) -> Watcher | None:
        """Pass on, and note what it brought; leaves the rest to the dialect's tap once there is nothing more to tell."""
        if self._inner is not None:
            self._inner.feed(data, now)
        if self._is_watching:
            self._note(now)
        return None if self._is_watching or self._is_stored else self._inner

    def close(self, now: float) -> None:
        """Pass on, and note what it brought."""
        if self._inner is not None:
            self._inner.close(now)
        if self._is_watching or self._is_stored:
            self._note(now)

    def _note(self, now: float) -> None:
        inner = self._inner
        if self._is_prefilling and (inner is None or inner.first_token_at is not None):
            self._is_prefilling = False
            self._lease.prefill_done(now)
        response_id = inner.response_id if inner is not None and self._is_stored else None
        if response_id is not None:
            self._lease.keep(response_id)
        self._is_watching = self._is_prefilling or (self._is_stored and response_id is None)
