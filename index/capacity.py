"""How much a replica's cache holds in effect, learned from which tokens an engine still found and which it had lost.

The *distance* of a token is how many tokens of the cache were used after it was last used. A cache that evicts what was used
longest ago holds all tokens up to some distance and none beyond: its capacity in effect, whatever size it states, with whomever
it is shared, and with a slower tier behind it.
"""

from __future__ import annotations

from math import exp

GAIN = 0.125
"""Share of a surprise that is taken in once there were several; the first ones move it further."""

FIRST_SURPRISES, SURPRISES_IN_A_ROW = 8, 4
"""Surprises that count in full: as many at first, as the gain falls, and later from so many in a row on one side on."""

PLAUSIBLE_SHARE = 0.6
"""Share of the largest distance proved lately, and of what is believed, below which a token cannot have been evicted: something
else is amiss. Where the cache is full and eight calls run at once, evictions begin at 0.73 of what it holds."""

SURE_SHARE = 0.75
"""Share of what was proved, and is believed, up to which hardly anything is evicted."""

SUSPECTED_SHARE = 0.9
"""The same of what is believed, once a restart is suspected."""

PROVED_FOR = 64
"""Reports for which a proof stands, at least; twice that at most."""

LEAST_SHARE = 0.125
"""Share of a stated size that a cache is believed to have in any case."""

RATE_OVER_S = 60.0
"""Seconds over which the rate of evictions is a decayed mean."""


class Capacity:
    """Tokens that one replica's cache holds in effect: at first what it states, or `unstated` where it states nothing."""

    __slots__ = (
        "_evicted_at",
        "_num_found",
        "_num_in_a_row",
        "_num_surprises",
        "_proved",
        "_proved_before",
        "_was_larger",
        "emptied_at",
        "evicted_tokens_per_s",
        "least",
        "num_restarts",
        "num_unexplained",
        "stated",
        "tokens",
    )

    def __init__(self, stated: int | None, unstated: int) -> None:
        self.stated = stated
        self.tokens = unstated if stated is None else stated
        """Tokens believed to be held, those used last."""
        self.evicted_tokens_per_s = 0.0
        """Rate at which tokens are believed to leave, as of when some last did."""
        self.num_restarts = 0
        """Restarts that nobody told of."""
        self.emptied_at: float | None = None
        """When the last of them was found out; None where there was none."""
        self.num_unexplained = 0
        """Reports of a loss that neither evictions nor a restart explain: a prompt rendered otherwise, or a lie."""
        self._evicted_at = 0.0
        self.least = 1 if stated is None else int(stated * LEAST_SHARE)
        """Tokens that it holds for sure."""
        self._num_surprises = self._num_in_a_row = 0
        self._was_larger = False
        self._num_found = 0
        self._proved = self._proved_before = 0

    @property
    def offload_tokens(self) -> int:
        """Tokens that a slower tier seems to hold: what was learned beyond the stated size."""
        return 0 if self.stated is None else max(0, self.tokens - self.stated)

    def restate(self) -> None:
        """Believe the stated size again, where there is one: events tell more than reports did while there were none."""
        if self.stated is not None:
            self.tokens = max(self.least, self.stated)

    def is_plausible(self, distance: int) -> bool:
        """Whether a token at `distance` may have been evicted."""
        return distance >= self.least and distance >= PLAUSIBLE_SHARE * min(self.tokens, max(self._proved, self._proved_before))

    def sure(self, *, is_suspected: bool) -> float:
        """Distance up to which tokens are almost certainly held; less sure where a restart is suspected already."""
        if is_suspected:
            return SUSPECTED_SHARE * self.tokens
        return SURE_SHARE * min(self.tokens, max(self._proved, self._proved_before))

    def fits(self, num_tokens: int) -> None:
        """A call of so many tokens, more than `least`, was served, so they fit."""
        self.least = num_tokens
        self.tokens = max(self.tokens, num_tokens)

    def found(self, distance: int, num_claimed: int) -> None:
        """The last of `num_claimed` tokens was there, at `distance`."""
        self._num_found += 1
        if self._num_found % PROVED_FOR == 0:
            self._proved, self._proved_before = 0, self._proved
        self._proved = max(self._proved, distance)
        if distance > self.tokens:
            self._move(distance - self.tokens, num_claimed)

    def missed(self, distance: int, num_claimed: int) -> None:
        """Of `num_claimed` tokens, that at `distance` and those after it had been evicted."""
        if distance < self.tokens:
            self._move(distance - self.tokens, num_claimed)

    def note_evicted(self, num_tokens: int, now: float) -> None:
        """So many tokens are believed to have left."""
        passed_s = max(0.0, now - self._evicted_at)
        self._evicted_at = now
        self.evicted_tokens_per_s = self.evicted_tokens_per_s * exp(-passed_s / RATE_OVER_S) + num_tokens / RATE_OVER_S

    def _move(self, by_tokens: int, num_claimed: int) -> None:
        """Take in a surprise that would be none were the capacity larger by `by_tokens`.

        It counts as many tokens as were predicted wrongly, so that what is predicted comes out right in the sum; the first ones
        count in full, and so do several on one side, which say that the capacity is far off.
        """
        self._num_surprises += 1
        self._num_in_a_row = self._num_in_a_row + 1 if (by_tokens > 0) is self._was_larger else 1
        self._was_larger = by_tokens > 0
        if self._num_surprises > FIRST_SURPRISES and self._num_in_a_row < SURPRISES_IN_A_ROW:
            by_tokens = max(-num_claimed, min(by_tokens, num_claimed))
        gain = max(GAIN, 1 / self._num_surprises)
        self.tokens = max(self.least, int(self.tokens + gain * by_tokens))
