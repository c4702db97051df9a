"""What an engine's report of cached tokens says of what it has lost: evicted, restarted, or never the same prompt."""

from __future__ import annotations

from turnwise.index.capacity import Capacity
from turnwise.index.recency import Recency
from turnwise.index.runs import Run

SLACK_TOKENS = 64
"""Tokens that a report may fall short by without anything being lost: engines count whole blocks."""

PROVE_EVERY = 16
"""Reports of which one is measured though nothing was missing, to know what the cache holds for sure."""

RESTART_POINTS, STRONG_POINTS, WEAK_POINTS, SILENT_POINTS = 6, 4, 2, 1
"""Points at which a restart is certain; those of a loss that no eviction explains, of one that it hardly does, and of a report
that refutes nothing after the first."""

LEAST_WHOLE = 2
"""Sessions found whole since the last restart, without which a loss is no restart: the replica never finds them."""

MOSTLY_PARTS = 3
"""How many more losses left a part of what one session had than left nothing of it, from where on such a loss is taken for a
template's doing. A cache that evicts parts a session only where its edge lies, one loss in ten or so; what a template renders
anew is always a tail."""

PART_TOKENS = 16
"""Tokens of a session's own that must be found for its loss to be one of a part."""

ANSWER_GAIN = 0.2
"""Share of what a next turn shows that is taken into how much of an answer stays."""


class Losses:
    """Learns from the reports of one replica; it outlives no restart that others tell of."""

    __slots__ = (
        "_answer_share",
        "_capacity",
        "_gone_before",
        "_has_lost_whole",
        "_lost_use",
        "_num_parts",
        "_num_reports",
        "_num_whole",
        "_points",
        "_recency",
        "_struck_sent",
        "_tokens_before",
        "_told_use",
        "believes_answers",
        "gone_sent",
    )

    def __init__(self, capacity: Capacity, recency: Recency) -> None:
        self.believes_answers = True
        """Whether the next turn finds the tokens that were generated in the turn before."""
        self.gone_sent = 0
        """What was sent before this use is gone, though it be answered later."""
        self._answer_share = 1.0
        self._capacity = capacity
        self._recency = recency
        self._gone_before = 0
        self._has_lost_whole = False
        """Whether nothing was found of a session that may have been evicted: a part alone tells no eviction from a template."""
        self._lost_use = 0
        self._num_parts = self._tokens_before = 0
        self._struck_sent = 0
        self._told_use = 0
        self._points = 0
        self._num_reports = 0
        self._num_whole = 0

    def note(self, last: Run, cached_tokens: int, now: float) -> int:
        """Take in, `now`, that a prompt which was booked up to the end of the run `last` found `cached_tokens`.

        Returns how many it should have found, 0 where evictions or a restart explain that it did not.
        """
        num_restarts = self._capacity.num_restarts
        expected = self._compare(last, cached_tokens)
        if self._capacity.num_restarts != num_restarts:
            self._capacity.emptied_at = now
        return expected

    def _compare(self, last: Run, cached_tokens: int) -> int:
        if last.sent <= self._told_use:
            return 0  # what it claimed is from before the restart, and known to be gone
        enough = cached_tokens + SLACK_TOKENS
        found_use = -1
        found = found_base = base = 0
        for base, tokens, use in last.was:
            if use < self._gone_before:
                break
            if enough < tokens:
                num_unexplained = self._capacity.num_unexplained
                is_strike = self._miss(last, base, tokens, use, cached_tokens)
                if self._points and not is_strike:
                    self._suspect(last, use if cached_tokens > base + SLACK_TOKENS else found_use)
                if self._capacity.num_unexplained == num_unexplained:
                    return 0
                return next((claimed for _, claimed, use in reversed(last.was) if use >= last.edge), tokens)
            if 2 * cached_tokens >= base + tokens:  # else it may be lost, for all that the slack lets pass
                found_use, found_base, found = use, base, tokens
        if self._points:
            self._suspect(last, found_use)
        if found_use < 0:
            return 0
        if base == last.base:
            self._num_whole += 1
            if last.was_answer:
                self._learn_answer(last, cached_tokens, found)
        self._num_reports += 1
        if found_use <= last.edge or not self._num_reports % PROVE_EVERY:
            distance = self._distance(last, found_use, found)
            if distance is not None:
                self._learn(distance, found - found_base, is_found=True)
        return min(found, cached_tokens)

    def _miss(self, last: Run, base: int, tokens: int, use: int, cached_tokens: int) -> bool:
        """Of a run from `base` tokens to `tokens`, last used by `use`, not all was found; returns whether that is a strike."""
        capacity = self._capacity
        distance = self._distance(last, use, max(base, cached_tokens))
        if distance is None:
            return False
        is_whole = cached_tokens <= base + SLACK_TOKENS
        is_part = cached_tokens > base + PART_TOKENS
        is_plausible = capacity.is_plausible(distance)
        is_template = is_part and self._num_parts >= MOSTLY_PARTS
        # A call waits where others fill the cache: all that came until its answer may have come before its engine looked.
        at_most = distance + self._filled_since(last)
        is_sure = distance < capacity.sure(is_suspected=self._points > 0) and at_most < capacity.tokens
        if is_whole and is_sure and not is_template and self._num_whole >= LEAST_WHOLE:
            self._struck_sent = min(self._struck_sent, last.sent) if self._points else last.sent
            self._lost_use = max(self._lost_use, use)
            self._points += WEAK_POINTS if is_plausible else STRONG_POINTS
            if self._points >= RESTART_POINTS:
                self._restart()
            return True
        is_eviction = is_plausible and not self._is_rendered_anew(is_part=is_part)
        self._has_lost_whole = self._has_lost_whole or (is_eviction and not is_part)
        if is_eviction and use >= last.edge and self._has_lost_whole:
            self._learn(distance, tokens - base, is_found=False)
        if is_plausible and not is_whole:
            self._learn(distance, tokens - base, is_found=True)
        if not is_eviction:
            capacity.num_unexplained += 1
        return False

    def _is_rendered_anew(self, *, is_part: bool) -> bool:
        """Whether a loss that might be an eviction is a template's doing, as those before it were; it then unlearns them."""
        if not is_part:
            self._num_parts = max(0, self._num_parts - 1)
            return False
        capacity = self._capacity
        if not self._num_parts:
            self._tokens_before = capacity.tokens
        self._num_parts = min(self._num_parts + 1, 2 * MOSTLY_PARTS)
        if self._num_parts == MOSTLY_PARTS and self._tokens_before > capacity.tokens:
            self._recency.recall(self._tokens_before - capacity.tokens, self._gone_before)
            capacity.tokens = self._tokens_before
        return self._num_parts >= MOSTLY_PARTS

    def _learn(self, distance: int, num_claimed: int, *, is_found: bool) -> None:
        capacity = self._capacity
        before = capacity.tokens
        if is_found:
            capacity.found(distance, num_claimed)
        else:
            capacity.missed(distance, num_claimed)
        if capacity.tokens > before:
            self._recency.recall(capacity.tokens - before, self._gone_before)

    def _suspect(self, last: Run, found_use: int) -> None:
        """A restart is suspected, and something was found of what `found_use` had last used, -1 where nothing was claimed."""
        if 0 <= found_use <= self._lost_use:
            if last.sent > self._struck_sent:
                self._points = self._lost_use = 0
        elif self._points >= STRONG_POINTS:
            self._points += SILENT_POINTS
            if self._points >= RESTART_POINTS:
                self._restart()

    def _restart(self) -> None:
        self._gone_before, self.gone_sent = self._lost_use + 1, self._struck_sent
        self._recency.lose_before(self._gone_before, self.gone_sent)
        self._points = self._lost_use = self._num_whole = 0
        self._told_use = self._recency.num_uses
        self._capacity.num_restarts += 1

    def _learn_answer(self, last: Run, cached_tokens: int, held: int) -> None:
        found = min(max(cached_tokens + 1 - held, 0), last.was_answer)
        share = min(1.0, (found + SLACK_TOKENS / 4) / last.was_answer)
        self._answer_share += ANSWER_GAIN * (share - self._answer_share)
        self.believes_answers = self._answer_share > 1 / 2

    def _distance(self, last: Run, use: int, at_tokens: int) -> int | None:
        """How many tokens had been used after one that `use` had used, when the prompt that ends in `last` was booked."""
        recency = self._recency
        used = recency.used_after(use)
        if used is None:
            return None
        return used - self._filled_since(last) - (last.tokens + last.answer_tokens) + at_tokens

    def _filled_since(self, last: Run) -> int:
        """Tokens put into the cache since the prompt that ends in `last` was booked."""
        return self._recency.num_filled - last.num_filled
