"""What finished calls teach about bringing up KV blocks from slower media."""

from __future__ import annotations

from collections import deque
from itertools import combinations
from statistics import median

import msgspec

from turnwise.events import DISK, DRAM
from turnwise.settings import PolicySettings
from turnwise.types import Hit, MediaSpeeds

KEPT_CALLS = 15
"""Calls of which the median is taken: a change shows after eight, and seven that waited for something else do no harm."""

MIN_LOADED_TOKENS = 1024
"""Fewer come up within the jitter of an engine's step: five milliseconds on a PCIe 4.0 link."""

MIN_APART_TOKENS, MIN_SLOPES = 32, 5
"""How far two calls must differ in work for a slope through them, and how many slopes make a line."""

MAX_FACTOR = 64.0
"""How many times faster or slower than the setting a medium is believed to be at most: a disk may be across a network."""


class MediumStats(msgspec.Struct, frozen=True, gc=False):
    """How fast blocks come up from one medium, and how many of the last calls say so: where none does, it is the setting."""

    tokens_per_s: float
    num_calls: int


class Loading:
    """How fast one replica brings up blocks, from how much later its calls got their first token than computing explains.

    The setting counts as one call, and stands alone until there is another.
    """

    __slots__ = ("_plain", "_set", "_taught", "speeds")

    def __init__(self, settings: PolicySettings) -> None:
        self._set = {DRAM: 1 / settings.dram_tokens_per_s, DISK: 1 / settings.disk_tokens_per_s}
        self._taught: dict[str, deque[float]] = {medium: deque(maxlen=KEPT_CALLS) for medium in self._set}
        self._plain: deque[tuple[float, float]] = deque(maxlen=KEPT_CALLS)
        self.speeds = MediaSpeeds(settings.dram_tokens_per_s, settings.disk_tokens_per_s)
        """What to expect."""

    @property
    def taught(self) -> list[tuple[str, float]]:
        """Medium and seconds a token, as each of the last calls taught them, the oldest first."""
        return [(medium, token_s) for medium, taught in self._taught.items() for token_s in taught]

    @property
    def stats(self) -> dict[str, MediumStats]:
        """Both media by name."""
        speeds = self.speeds
        return {
            "dram": MediumStats(speeds.dram_tokens_per_s, len(self._taught[DRAM])),
            "disk": MediumStats(speeds.disk_tokens_per_s, len(self._taught[DISK])),
        }

    def note_plain(self, work_tokens: float, first_token_s: float) -> None:
        """A call that had nothing brought up had its first token after so long, with so much to be computed before it."""
        self._plain.append((work_tokens, first_token_s))

    def sample(self, hit: Hit, work_tokens: float, first_token_s: float) -> tuple[str, float] | None:
        """The slower medium of which a call tells, and its seconds a token; None where nothing can be told.

        Its first token came `first_token_s` after it was booked, with `work_tokens` to be computed before it. It had too little
        brought up, or too few calls have said how long one without would have taken. Where blocks came from two media, it tells
        of the one that was expected to take longer.
        """
        expected_s = {DRAM: hit.dram_tokens * self._token_s(DRAM), DISK: hit.disk_tokens * self._token_s(DISK)}
        medium, other = (DRAM, DISK) if expected_s[DRAM] >= expected_s[DISK] else (DISK, DRAM)
        num_tokens = hit.dram_tokens if medium == DRAM else hit.disk_tokens
        plain_s = self._plain_s(work_tokens) if num_tokens >= MIN_LOADED_TOKENS else None
        return None if plain_s is None else (medium, (first_token_s - plain_s - expected_s[other]) / num_tokens)

    def learn(self, medium: str, token_s: float) -> None:
        """Take in what a call told of, here or at a sibling; an unknown medium is ignored."""
        if medium in self._set:
            least, most = self._set[medium] / MAX_FACTOR, self._set[medium] * MAX_FACTOR
            self._taught[medium].append(min(max(token_s, least), most))
            self.speeds = MediaSpeeds(1 / self._token_s(DRAM), 1 / self._token_s(DISK))

    def _token_s(self, medium: str) -> float:
        return median((self._set[medium], *self._taught[medium]))

    def _plain_s(self, work_tokens: float) -> float | None:
        """Time to the first token of a call that has nothing brought up: the line through those of late (Theil and Sen's).

        An engine's step has a fixed time, which is most of it where little is computed: what a speed alone says falls short by
        as much as a few thousand tokens take to come up.
        """
        slopes = [
            (late - early) / (more - less)
            for (less, early), (more, late) in combinations(self._plain, 2)
            if abs(more - less) >= MIN_APART_TOKENS
        ]
        if len(slopes) < MIN_SLOPES:
            return None
        token_s = max(0.0, median(slopes))
        step_s = median([first_token_s - tokens * token_s for tokens, first_token_s in self._plain])
        return max(0.0, step_s + work_tokens * token_s)
