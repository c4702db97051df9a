"""Upstreams' `requestState` as clients hold it: bound to who was given it, for what, and for how long."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from hashlib import sha256

MAC_BYTES = 32
TIME_BYTES = 8


class Seal:
    """Seals and opens states with a key of this process: what was sealed before a restart no longer opens.

    `now` gives seconds on a clock that does not jump; `ttl_s` says how long a client may take to answer.
    """

    def __init__(self, key: bytes, now: Callable[[], float], ttl_s: float = 600.0) -> None:
        self._key = key
        self._now = now
        self._ttl_s = ttl_s

    def seal(self, state: str, bound: tuple[str, ...]) -> str:
        """What the client is given in place of `state`; `bound` is all that must be the same when it comes back."""
        until = int(self._now() + self._ttl_s).to_bytes(TIME_BYTES)
        raw = state.encode("utf-8", "surrogatepass")
        return base64.urlsafe_b64encode(until + self._mac(until, raw, bound) + raw).decode()

    def open(self, sealed: str, bound: tuple[str, ...]) -> str | None:
        """The state that was sealed; None for anything else, and for one that is too old."""
        try:
            raw = base64.b64decode(sealed, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        until, mac, state = raw[:TIME_BYTES], raw[TIME_BYTES : TIME_BYTES + MAC_BYTES], raw[TIME_BYTES + MAC_BYTES :]
        if not hmac.compare_digest(mac, self._mac(until, state, bound)) or int.from_bytes(until) < self._now():
            return None
        return state.decode("utf-8", "surrogatepass")

    def _mac(self, until: bytes, state: bytes, bound: tuple[str, ...]) -> bytes:
        # Digests of each part keep the parts from running into each other.
        parts = b"".join(sha256(part.encode("utf-8", "surrogatepass")).digest() for part in bound)
        return hmac.digest(self._key, until + parts + state, "sha256")
