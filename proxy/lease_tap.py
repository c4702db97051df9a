"""The tap of the pipeline itself: tells the lease what matters to it, then gets out of the way."""

from __future__ import annotations

from turnwise.dialects.base import Tap
from turnwise.proxy.fleet import Lease
from turnwise.types import Usage


class LeaseTap:
    """Wraps a dialect's tap (or none): ends the lease's prefill, and tells it the id of an answer that the replica keeps.

    Prefill ends with the first token, for one API sends events before it; with the first bytes where no tap can tell. The id is
    told as soon as it is seen, for a client may read or cancel a response that it is still being given, and again at the end,
    for a restart of the replica may have been noticed in between.
    """

    def __init__(self, inner: Tap | None, lease: Lease, *, is_stored: bool) -> None:
        self._inner = inner
        self._lease = lease
        self._is_prefilling = True
        self._is_stored = self._wants_id = is_stored and inner is not None

    def on_head(self, status: int, *, is_stream: bool) -> None:
        """Pass on."""
        if self._inner is not None:
            self._inner.on_head(status, is_stream=is_stream)

    def feed(self, data: bytes, now: float) -> None:
        """Pass on, and note what it brought."""
        if self._inner is not None:
            self._inner.feed(data, now)
        self._note(now)

    def close(self, now: float) -> None:
        """Pass on, and note what it brought."""
        if self._inner is not None:
            self._inner.close(now)
        self._wants_id = self._is_stored
        self._note(now)

    def _note(self, now: float) -> None:
        if self._is_prefilling and (self._inner is None or self._inner.first_token_at is not None):
            self._is_prefilling = False
            self._lease.prefill_done(now)
        if self._wants_id and self.response_id is not None:
            self._wants_id = False
            self._lease.keep(self.response_id)

    @property
    def usage(self) -> Usage | None:
        """Token counts, where the answer told them."""
        return None if self._inner is None else self._inner.usage

    @property
    def first_token_at(self) -> float | None:
        """When the first token came."""
        return None if self._inner is None else self._inner.first_token_at

    @property
    def first_visible_at(self) -> float | None:
        """When the first visible text came."""
        return None if self._inner is None else self._inner.first_visible_at

    @property
    def response_id(self) -> str | None:
        """Id under which the replica keeps this answer."""
        return None if self._inner is None else self._inner.response_id

    @property
    def finish_reason(self) -> str | None:
        """Why the engine stopped."""
        return None if self._inner is None else self._inner.finish_reason
