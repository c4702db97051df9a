"""Predicted residency: what one replica should hold because we sent it there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter

from turnwise.index.estimate import tokens_between
from turnwise.index.runs import Run
from turnwise.types import Digest, PromptChain

MAX_SEGMENTS = 32_768
"""Prompt segments kept for one replica whatever their tokens: a hundred and fifty sessions of 200 messages."""

SEGMENT_BYTES = 120
"""Memory of one segment: its digest of 49 bytes, its place in bytes, and a share of the anchors."""

RUN_BYTES = 400
"""Memory of one run besides its segments."""

_first_of = attrgetter("first")


class PredictedRuns:
    """What one replica is predicted to hold, as a radix tree of runs by the digest of their first segment.

    A session is one run that grows in place, after the run of what it shares with others; a run is split where another prompt
    parts from it. What was booked longest ago goes first and, of one prompt, its tail: the order in which engines evict. So
    whoever holds a segment holds all before it.
    """

    __slots__ = ("_max_tokens", "_num_bookings", "_order", "heads", "num_segments", "num_tokens")

    def __init__(self, max_tokens: int) -> None:
        self.heads: dict[Digest, Run] = {}
        """Runs by the digest of their first segment; for others to look up."""
        self.num_tokens = 0
        """Tokens predicted to be held, `max_tokens` at most."""
        self.num_segments = 0
        """Prompt segments that they are."""
        self._max_tokens = max_tokens
        self._num_bookings = 0
        self._order: OrderedDict[int, Run] = OrderedDict()
        """The last run of each booking, oldest first; a run belongs to the last booking of a prompt that goes through it."""

    @property
    def num_bytes(self) -> int:
        """Memory of all that is predicted, by constants measured with tracemalloc on runs of 2 to 200 segments."""
        return SEGMENT_BYTES * self.num_segments + RUN_BYTES * len(self.heads)

    def book(self, chain: PromptChain, num_tokens: int, now: float, anchors: Sequence[tuple[int, int]] = ()) -> None:
        """Predict that the prompt of `chain`, which has about `num_tokens`, will be held.

        `anchors` are boundaries whose exact tokens are known, ascending in both.
        """
        digests, ends, heads, order = chain.digests, chain.ends, self.heads, self._order
        self._num_bookings = booking = self._num_bookings + 1
        length = len(digests)
        depth = base = 0
        last: Run | None = None
        while depth < length:
            run = heads.get(digests[depth])
            if run is None:
                break
            depth = run.end
            if depth > length or digests[depth - 1] != run.tail:
                depth = _common_depth(run, digests)
                run = self._split(run, depth)
            elif order.get(run.booking) is run:
                del order[run.booking]
            run.booking, run.booked_at, base = booking, now, run.tokens
            last = run
        if depth < length:
            num_tokens = max(num_tokens, base)
            known = () if not anchors else _within(anchors, depth, base, length, num_tokens)
            self.num_tokens += num_tokens - base
            self.num_segments += length - depth
            if last is not None and not last.num_children:
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
        if last is not None:
            order[booking] = last
        if self.num_tokens > self._max_tokens or self.num_segments > MAX_SEGMENTS:
            self._evict()

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
            if depth > length or digests[depth - 1] != run.tail:
                return run.tokens_at(_common_depth(run, digests))
            tokens = run.tokens
            if depth == length:
                break
            run = heads.get(digests[depth])
        return tokens

    def settle(self, chain: PromptChain, num_tokens: int | None, cached_tokens: int | None, now: float) -> None:
        """An answer came: what is left of the prompt is resident, and `num_tokens` replaces what was estimated.

        Where `cached_tokens` is given, the engine found only so many of them when the call came: what hung on the part that it
        had lost is dropped. The prompt's own segments stay, since it has filled them anew; so does what was booked later, or
        had not been proved by an answer when this call was booked (it may only have been slower), with all before it. A segment
        counts as lost where less than half of it was cached, so that an inexact estimate of its length drops nothing.
        """
        digests, heads = chain.digests, self.heads
        length = len(digests)
        depth = 0
        last: Run | None = None
        is_even = True  # each run before the last was counted, and the next begins with as many tokens as it ends with
        while depth < length:
            run = heads.get(digests[depth])
            if run is None:
                break
            if last is not None and (last.counted < depth or last.tokens != run.base):
                is_even = False
            last = run
            end = run.end
            if end > length or digests[end - 1] != run.tail:
                depth = _common_depth(run, digests)
                break
            depth = end
            run.num_settled, run.settled_at = end - run.first, now
        if last is None:
            return
        is_whole = depth == length
        if is_whole and cached_tokens is not None and (cached_tokens < last.base or last.num_children):
            self._correct(_path_to(last), depth, cached_tokens)
        if depth < last.end:
            if depth - last.first < last.num_settled:
                # Longer prompts proved it whole, at another time.
                last = self._split(last, depth)
            last.num_settled, last.settled_at = depth - last.first, now
        if is_whole and num_tokens is not None:
            if not is_even:
                self._even(_path_to(last), chain, num_tokens)
            if depth == last.end and num_tokens >= (last.anchors[-1][1] if last.anchors else last.base):
                self.num_tokens += num_tokens - last.tokens
                last.tokens = num_tokens
            else:
                self.num_tokens += last.measure(depth, num_tokens)
            last.counted = depth

    def sweep(self, before: float, max_segments: int) -> int:
        """Drop what was booked before `before`; returns how many of `max_segments` are not spent."""
        while self._order and max_segments > 0:
            run = next(iter(self._order.values()))
            if run.booked_at >= before:
                break
            dropped = min(max_segments, run.end - run.first)
            self._cut(run, run.end - dropped)
            max_segments -= dropped
        return max_segments

    def _even(self, path: list[Run], chain: PromptChain, num_tokens: int) -> None:
        """Replace what was estimated of the runs before the last, now that a prompt that goes on from there was counted."""
        ends = chain.ends
        for run, longer in pairwise(path):
            if run.counted < run.end:
                start = max(run.counted, run.first)
                start_bytes = ends[start - 1] if start else 0
                left = run.tokens_at(start)
                tokens = tokens_between(left, max(left, num_tokens), start_bytes, ends[-1], ends[run.end - 1])
                self.num_tokens += run.measure(run.end, tokens)
                run.counted = run.end
            if longer.base != run.tokens:
                self.num_tokens += longer.measure(run.end, run.tokens)

    def _split(self, run: Run, depth: int) -> Run:
        head = run.split(depth)
        self.heads[head.digests[0]] = head
        self.heads[run.digests[0]] = run
        return head

    def _evict(self) -> None:
        order, max_tokens = self._order, self._max_tokens
        while (excess := self.num_tokens - max_tokens) > 0 or self.num_segments > MAX_SEGMENTS:
            run = next(iter(order.values()))
            if excess > run.tokens - run.base or run.end - run.first == 1:
                self._drop(run)
            else:
                self._cut(run, min(run.depth_at(run.tokens - excess), run.end - (self.num_segments - MAX_SEGMENTS)))

    def _cut(self, run: Run, depth: int) -> None:
        """Drop what lies after `depth` of a run that has no children."""
        if depth <= run.first:
            self._drop(run)
        else:
            self.num_segments -= run.end - depth
            self.num_tokens -= run.cut(depth)

    def _drop(self, run: Run) -> None:
        """Drop a run that has no children, and so is the last of its booking."""
        parent, booking = run.parent, run.booking
        del self.heads[run.digests[0]]
        self.num_tokens -= run.tokens - run.base
        self.num_segments -= run.end - run.first
        if parent is not None:
            parent.num_children -= 1
            if parent.booking == booking:
                self._order[booking] = parent
                return
        del self._order[booking]

    def _correct(self, path: list[Run], depth: int, cached_tokens: int) -> None:
        """Drop what hung on the part of a prompt that was not among its `cached_tokens`."""
        lost: set[Run] = set()
        num_next = 0
        for run in reversed(path):
            # Only where another prompt parts, which is at the end of a run, does anything hang but the prompt itself.
            if run.num_children > num_next and run.end <= depth:
                tokens = run.tokens
                if tokens > cached_tokens and tokens + run.tokens_at(run.end - 1) > 2 * cached_tokens:
                    lost.add(run)
            num_next = 1
        if not lost:
            return
        booked_at = path[-1].booked_at
        hanging: list[Run] = []
        for run in sorted(self.heads.values(), key=_first_of):
            if run.parent in lost and run not in path and _was_proved(run, booked_at):
                lost.add(run)
                hanging.append(run)
        for run in reversed(hanging):
            if not run.num_children:
                self._drop(run)


def _path_to(run: Run) -> list[Run]:
    """The runs that a prompt goes through up to `run`."""
    path = [run]
    while (parent := path[-1].parent) is not None:
        path.append(parent)
    path.reverse()
    return path


def _within(anchors: Sequence[tuple[int, int]], depth: int, base: int, length: int, tokens: int) -> tuple[tuple[int, int], ...]:
    """Those `anchors`, now by depth, that lie after `depth` and before `length`, and within the tokens there."""
    return tuple([(at + 1, known) for at, known in anchors if depth <= at < length - 1 and base <= known <= tokens])


def _was_proved(run: Run, before: float) -> bool:
    return run.num_settled == len(run.digests) and run.booked_at < before and run.settled_at < before


def _common_depth(run: Run, digests: Sequence[Digest]) -> int:
    """How deep a prompt goes into a run whose first segment it has."""
    first, own = run.first, run.digests
    low, high = first + 1, min(run.end, len(digests))
    if own[high - first - 1] == digests[high - 1]:
        return high
    high -= 1
    while low < high:
        middle = (low + high + 1) // 2
        if own[middle - first - 1] == digests[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low
