"""Runs of prompts as a radix tree, kept in the order of their use; a run is split where another prompt parts from it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from turnwise.index.recency import Recency
from turnwise.index.retire import Retired
from turnwise.index.runs import Run
from turnwise.types import Digest

MAX_SEGMENTS = 32_768
"""Prompt segments kept for one replica whatever their tokens: a hundred and fifty sessions of 200 messages."""

SEGMENT_BYTES = 120
"""Memory of one segment: its digest of 49 bytes, its place in bytes, and a share of the anchors."""

RUN_BYTES = 500
"""Memory of one run besides its segments, with its places among the heads and in the order of uses."""


class RunTree:
    """The runs of one replica; whoever holds a segment holds all before it."""

    __slots__ = ("heads", "num_segments", "recency", "retired")

    def __init__(self) -> None:
        self.heads: dict[Digest, Run] = {}
        """Runs by the digest of their first segment."""
        self.num_segments = 0
        """Prompt segments that they are."""
        self.recency = Recency()
        self.retired = Retired()

    @property
    def num_bytes(self) -> int:
        """Memory of all of it, by constants measured with tracemalloc on runs of 2 to 200 segments."""
        return SEGMENT_BYTES * self.num_segments + RUN_BYTES * len(self.heads)

    def split(self, run: Run, depth: int) -> Run:
        """Part a run in two at `depth`; returns the first of them."""
        head = run.split(depth)
        self.heads[head.digests[0]] = head
        self.heads[run.digests[0]] = run
        return head

    def cut(self, run: Run, depth: int) -> None:
        """Drop what lies after `depth` of a run that has no children."""
        if depth <= run.first:
            self.drop(run)
        else:
            recency, num_lost = self.recency, run.num_lost
            recency.running.pop(run, None)
            self.num_segments -= run.end - depth
            recency.num_tokens -= run.cut(depth)
            recency.num_lost -= num_lost - run.num_lost

    def drop(self, run: Run) -> None:
        """Drop a run that has no children, and so is the last of its booking."""
        parent, booking, recency = run.parent, run.booking, self.recency
        del self.heads[run.digests[0]]
        self.retired.drop(run)
        recency.running.pop(run, None)
        recency.num_tokens -= run.size
        recency.num_lost -= run.num_lost
        self.num_segments -= run.end - run.first
        if parent is not None:
            parent.num_children -= 1
            if parent.booking == booking:
                recency.order[booking] = parent
                return
        del recency.order[booking]

    def retire(self, digests: Sequence[Digest], kept: int) -> None:
        """Nobody will need what lies behind the first `kept` segments of a prompt, unless others went on from there."""
        depth, path = 0, []
        while depth < len(digests) and (run := self.heads.get(digests[depth])) is not None:
            depth = common_depth(run, digests)
            if depth < run.end:
                break
            if depth > kept:
                if run.first < kept:
                    self.split(run, kept)
                path.append(run)
        children = 0
        while path and path[-1].num_children == children and path[-1] not in self.recency.running:
            self.retired.add(path.pop())
            children = 1

    def trim(self, max_tokens: int) -> None:
        """Forget what was retired, then what was used longest ago, where there is more than `max_tokens` or `MAX_SEGMENTS`.

        Of what was retired but is believed to be held, only segments are ever too many: its tokens still fill the cache.
        """
        order = self.recency.order
        while (excess := self.recency.num_tokens - max_tokens) > 0 or self.num_segments > MAX_SEGMENTS:
            run = self.retired.first(is_lost=self.num_segments <= MAX_SEGMENTS) or next(iter(order.values()))
            if excess > run.size or run.end - run.first == 1:
                self.drop(run)
            else:
                self.cut(run, min(run.depth_at(run.tokens - excess), run.end - (self.num_segments - MAX_SEGMENTS)))

    def forget(self, max_segments: int) -> int:
        """Forget what was retired, then what was used longest ago; returns how many of `max_segments` are not spent."""
        while max_segments > 0 and (run := self.retired.first()) is not None:
            dropped = min(max_segments, run.end - run.first)
            self.cut(run, run.end - dropped)
            max_segments -= dropped
        return self.sweep(inf, max_segments)

    def sweep(self, before: float, max_segments: int) -> int:
        """Forget what was booked before `before`; returns how many of `max_segments` are not spent."""
        order = self.recency.order
        while order and max_segments > 0:
            run = next(iter(order.values()))
            if run.booked_at >= before:
                break
            dropped = min(max_segments, run.end - run.first)
            self.cut(run, run.end - dropped)
            max_segments -= dropped
        return max_segments


def path_to(run: Run) -> list[Run]:
    """The runs that a prompt goes through up to `run`."""
    path = [run]
    while (parent := path[-1].parent) is not None:
        path.append(parent)
    path.reverse()
    return path


def common_depth(run: Run, digests: Sequence[Digest]) -> int:
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
