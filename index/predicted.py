"""Predicted residency: what one replica should hold because we sent it there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from turnwise.index.capacity import Capacity
from turnwise.index.estimate import tokens_between
from turnwise.index.losses import Losses
from turnwise.index.run_tree import MAX_SEGMENTS, RunTree, common_depth, path_to
from turnwise.index.runs import Run
from turnwise.types import Digest, PromptChain

KEPT_SHARE = 2
"""Tokens remembered as a multiple of those believed to be held."""

MAX_RUNNING_S = 120.0
"""Time after which a prompt that was never answered is not taken to be in use any more: its call has failed."""


class PredictedRuns:
    """What one replica is predicted to hold, as a radix tree of runs by the digest of their first segment.

    A session is one run that grows in place, after the run of what it shares with others; a run is split where another prompt
    parts from it. What was used longest ago goes first and, of one prompt, its tail: the order in which engines evict. So
    whoever holds a segment holds all before it. As much again as the capacity is remembered beyond it, for an engine that
    finds some of that has a larger one.
    """

    __slots__ = ("_losses", "_recency", "_tree", "capacity", "heads")

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        """How much is believed to be held; it learns from reports."""
        self._tree = RunTree()
        self._recency = self._tree.recency
        self._losses = Losses(capacity, self._recency)
        self.heads = self._tree.heads
        """Runs by the digest of their first segment; for others to look up."""

    @property
    def num_tokens(self) -> int:
        """Tokens predicted to be held, those of the capacity at most."""
        return self._recency.num_tokens - self._recency.num_lost

    @property
    def num_kept_tokens(self) -> int:
        """Tokens remembered, held or not."""
        return self._recency.num_tokens

    @property
    def num_segments(self) -> int:
        """Prompt segments remembered."""
        return self._tree.num_segments

    @property
    def num_retired(self) -> int:
        """Runs that were retired, and not forgotten yet."""
        return len(self._tree.retired)

    @property
    def num_bytes(self) -> int:
        """Memory of all that is remembered."""
        return self._tree.num_bytes

    def book(self, chain: PromptChain, num_tokens: int, now: float, anchors: Sequence[tuple[int, int]] = ()) -> None:
        """Predict that the prompt of `chain`, which has about `num_tokens`, will be held.

        `anchors` are boundaries whose exact tokens are known, ascending in both.
        """
        digests, ends, heads, recency = chain.digests, chain.ends, self.heads, self._recency
        order = recency.order
        recency.num_uses = booking = recency.num_uses + 1
        length = len(digests)
        depth = base = filled = answer_tokens = 0
        was: list[tuple[int, int, int]] = []
        last: Run | None = None
        while depth < length:
            run = heads.get(digests[depth])
            if run is None:
                break
            depth = run.end
            if depth > length or digests[depth - 1] != run.tail:
                depth = common_depth(run, digests)
                run = self._tree.split(run, depth)
            elif order.get(run.booking) is run:
                del order[run.booking]
                recency.running.pop(run, None)
            if run.num_lost:
                filled += run.num_lost
                run.num_lost = 0
            tokens = run.tokens
            if run.num_settled == depth - run.first:
                was.append((base, tokens, run.booking))
            run.booking, run.booked_at, base = booking, now, tokens
            last = run
        recency.num_lost -= filled
        if depth < length:
            num_tokens = max(num_tokens, base)
            known = () if not anchors else _within(anchors, depth, base, length, num_tokens)
            added = num_tokens - base
            filled += added
            self._tree.num_segments += length - depth
            if last is not None and not last.num_children:
                answer_tokens = last.answer_tokens
                if answer_tokens:
                    last.answer_tokens = 0
                    added -= answer_tokens
                last.lengthen(digests, ends, num_tokens)
                last.anchors += known
            else:
                own, own_ends, start_bytes = digests, ends, 0
                if last is not None:
                    last.num_children += 1
                    own, own_ends, start_bytes = digests[depth:], ends[depth:], ends[depth - 1]
                last = heads[digests[depth]] = Run(
                    last, depth, length, digests[-1], own, own_ends, start_bytes, base, num_tokens, known, booking, now
                )
            recency.num_tokens += added
        if last is not None:
            order[booking] = last
            recency.running[last] = None
            recency.num_filled += filled
            last.was, last.was_answer, last.sent = was, answer_tokens, booking
            last.edge, last.num_filled = recency.edge, recency.num_filled
        if filled:
            self._bound(now)

    def tokens_since(self, chain: PromptChain, since: float, run: Run | None = None) -> int:
        """Tokens of the longest part of a prompt that is held and was booked at `since` or later.

        `run` is what `heads` has for its first segment, where that was looked up already.
        """
        digests, heads = chain.digests, self.heads
        length = len(digests)
        tokens = 0
        if run is None:
            run = heads.get(digests[0])
        while run is not None and run.booked_at >= since:
            depth = run.end
            if run.num_lost:
                return self._tokens_left(run, digests)
            if depth > length or digests[depth - 1] != run.tail:
                return run.tokens_at(common_depth(run, digests))
            tokens = run.tokens
            if depth == length:
                break
            if self._losses.believes_answers:
                tokens += run.answer_tokens
            run = heads.get(digests[depth])
        return tokens

    def tokens_within(self, chain: PromptChain, num_tokens: int) -> int:
        """Tokens of the longest part of a prompt that is among the last `num_tokens` used, about."""
        digests, heads, use = chain.digests, self.heads, self._recency.newest(num_tokens)
        tokens = depth = 0
        while depth < len(digests):
            run = heads.get(digests[depth])
            if run is None or run.booking < use:
                break
            depth = run.end
            if depth > len(digests) or digests[depth - 1] != run.tail:
                return run.tokens_at(common_depth(run, digests))
            tokens = run.tokens + run.answer_tokens
        return tokens

    def settle(
        self, chain: PromptChain, num_tokens: int | None, cached_tokens: int | None, now: float, answer_tokens: int = 0
    ) -> int:
        """An answer came: what is left of the prompt is resident, and `num_tokens` replaces what was estimated.

        Where `cached_tokens` is given, the engine found only so many of them when the call came, which tells what it had lost;
        the prompt itself it has filled anew. `answer_tokens` were generated after it. Returns how many it should have found, 0
        where that is not known, or where evictions or a restart explain that it did not.
        """
        digests, heads, recency = chain.digests, self.heads, self._recency
        order = recency.order
        recency.num_uses = use = recency.num_uses + 1
        length = len(digests)
        depth = filled = 0
        last: Run | None = None
        rest: Run | None = None
        is_even = True  # each run before the last was counted, and the next begins with as many tokens as it ends with
        while depth < length:
            run = heads.get(digests[depth])
            if run is None:
                break
            if last is not None and (last.counted < depth or last.tokens != run.base):
                is_even = False
            depth = run.end
            if depth > length or digests[depth - 1] != run.tail:
                depth = common_depth(run, digests)
                rest, run = run, self._tree.split(run, depth)
            elif order.get(run.booking) is run:
                del order[run.booking]
            run.num_settled = depth - run.first
            if run.num_lost:
                filled += run.num_lost
                run.num_lost = 0
            run.booking = use
            last = run
        if last is None:
            return 0
        expected = 0
        order[use] = last
        recency.num_lost -= filled
        is_whole = depth == length
        if is_whole:
            recency.running.pop(last, None)
            if cached_tokens is not None:
                expected = self._losses.note(last, cached_tokens, now)
                last.was = ()
        if is_whole and num_tokens is not None:
            if not is_even:
                self._even(path_to(last), chain, num_tokens)
            if num_tokens >= (last.anchors[-1][1] if last.anchors else last.base):
                grown = num_tokens - last.tokens
                last.tokens = num_tokens
            else:
                grown = last.measure(depth, num_tokens)
            last.counted = depth
            if rest is not None and rest.base != num_tokens:
                recency.resize(rest, rest.measure(depth, num_tokens))
            if not last.num_children:
                answer_added = answer_tokens - last.answer_tokens
                recency.num_filled += answer_added
                grown += answer_added
                last.answer_tokens = answer_tokens
            recency.resize(last, grown)
            if num_tokens + answer_tokens > self.capacity.least:
                self.capacity.fits(num_tokens + answer_tokens)
        if last.sent < self._losses.gone_sent:
            recency.lose_run(last)
        self._bound(now)
        return expected

    def sweep(self, before: float, max_segments: int) -> int:
        """Forget what was booked before `before`; returns how many of `max_segments` are not spent."""
        return self._tree.sweep(before, max_segments)

    def retire(self, digests: Sequence[Digest], kept: int) -> None:
        """Forget first what lies behind the first `kept` segments of a prompt, where there is too much to remember."""
        self._tree.retire(digests, kept)

    def forget(self, max_segments: int) -> int:
        """Forget so many segments; returns how many of them there were not."""
        return self._tree.forget(max_segments)

    def _bound(self, now: float) -> None:
        """Keep to the capacity, and to the memory for what lies beyond it."""
        recency, capacity = self._recency, self.capacity
        excess = recency.num_tokens - recency.num_lost - capacity.tokens
        if excess > 0:
            recency.lose(excess, now - MAX_RUNNING_S)
            capacity.note_evicted(excess, now)
        max_tokens = capacity.tokens * KEPT_SHARE
        if recency.num_tokens > max_tokens or self._tree.num_segments > MAX_SEGMENTS:
            self._tree.trim(max_tokens)

    def _tokens_left(self, run: Run, digests: Sequence[Digest]) -> int:
        """Tokens of a prompt up to where it leaves `run`, or to what is lost of it."""
        depth = common_depth(run, digests)
        tokens = run.tokens_at(depth)
        if depth == run.end and len(digests) > depth and self._losses.believes_answers:
            tokens += run.answer_tokens
        return min(tokens, run.base + run.size - run.num_lost)

    def _even(self, path: list[Run], chain: PromptChain, num_tokens: int) -> None:
        """Replace what was estimated of the runs before the last, now that a prompt that goes on from there was counted."""
        ends = chain.ends
        for run, longer in pairwise(path):
            if run.counted < run.end:
                start = max(run.counted, run.first)
                start_bytes = ends[start - 1] if start else 0
                left = run.tokens_at(start)
                tokens = tokens_between(left, max(left, num_tokens), start_bytes, ends[-1], ends[run.end - 1])
                self._recency.resize(run, run.measure(run.end, tokens))
                run.counted = run.end
            if longer.base != run.tokens:
                self._recency.resize(longer, longer.measure(run.end, run.tokens))


def _within(anchors: Sequence[tuple[int, int]], depth: int, base: int, length: int, tokens: int) -> tuple[tuple[int, int], ...]:
    """Those `anchors`, now by depth, that lie after `depth` and before `length`, and within the tokens there."""
    return tuple([(at + 1, known) for at, known in anchors if depth <= at < length - 1 and base <= known <= tokens])
