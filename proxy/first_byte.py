"""The tap of the pipeline itself: tells the lease that prefill is over, then gets out of the way."""

from __future__ import annotations

from turnwise.dialects.base import Tap
from turnwise.proxy.fleet import Lease
from turnwise.types import Usage


class FirstByte:
    """Wraps a dialect's tap (or none) and releases the lease's prefill at the first bytes of the answer's body."""

    def __init__(self, inner: Tap | None, lease: Lease) -> None:
        self._inner = inner
        self._lease = lease
        self._is_first = True

    def on_head(self, status: int, *, is_stream: bool) -> None:
        """Pass on."""
        if self._inner is not None:
            self._inner.on_head(status, is_stream=is_stream)

    def feed(self, data: bytes, now: float) -> None:
        """Pass on, after noting the first bytes."""
        if self._is_first:
            self._is_first = False
            self._lease.prefill_done()
        if self._inner is not None:
            self._inner.feed(data, now)

    def close(self, now: float) -> None:
        """Pass on."""
        if self._inner is not None:
            self._inner.close(now)

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
    def finish_reason(self) -> str | None:
        """Why the engine stopped."""
        return None if self._inner is None else self._inner.finish_reason
