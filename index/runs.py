"""A run: neighbouring segments of prompts that were sent together and that no other prompt has parted since."""

from __future__ import annotations

from bisect import bisect_left
from math import inf

import msgspec

from turnwise.index.estimate import tokens_between
from turnwise.types import Digest


class Run(msgspec.Struct, gc=False, eq=False):
    """Some segments of a prompt: those after its first `first` and up to `end`. A depth counts segments from its start.

    All of them were last booked together: by booking number `booking`, at `booked_at`. `digests` has an entry a segment,
    `ends` the bytes of the prompt up to the run's start and to the end of each segment. `anchors` are depths with the tokens
    up to there, ascending in both; the first is at `first`, the last at `end`. Its parent ends where it begins, and no run
    was booked later than its parent.
    """

    parent: Run | None
    first: int
    end: int
    digests: list[Digest]
    ends: list[int]
    anchors: list[tuple[int, int]]
    booking: int
    booked_at: float
    num_settled: int = 0
    """Leading segments that an answer has proved resident."""
    settled_at: float = inf
    """When one last did."""
    counted: int = 0
    """Depth up to which its tokens come from counts of engines, and not from an estimate of a whole prompt."""
    num_children: int = 0

    @property
    def size(self) -> int:
        """Tokens of its own."""
        return self.anchors[-1][1] - self.anchors[0][1]

    def tokens_at(self, depth: int) -> int:
        """Tokens of the prompt up to `depth`, which lies in this run or at its start."""
        anchors = self.anchors
        position = bisect_left(anchors, (depth,))
        right = anchors[position]
        if right[0] == depth:
            return right[1]
        left = anchors[position - 1]
        ends, first = self.ends, self.first
        return tokens_between(left[1], right[1], ends[left[0] - first], ends[right[0] - first], ends[depth - first])

    def depth_at(self, tokens: int) -> int:
        """The deepest depth up to which the prompt has no more than `tokens`; the run's start where even that has more."""
        low, high = self.first, self.end
        while low < high:
            middle = (low + high + 1) // 2
            if self.tokens_at(middle) <= tokens:
                low = middle
            else:
                high = middle - 1
        return low

    def measure(self, depth: int, tokens: int) -> int:
        """Take in that the prompt has `tokens` up to `depth`; returns by how much the run's own tokens have grown.

        Older anchors that cannot be true beside it give way.
        """
        anchors = self.anchors
        size = anchors[-1][1] - anchors[0][1]
        position = len(anchors) - 1 if depth == self.end else bisect_left(anchors, (depth,))
        if anchors[position][0] == depth:
            anchors[position] = (depth, tokens)
        else:
            anchors.insert(position, (depth, tokens))
        before = position - 1
        while before >= 0 and anchors[before][1] > tokens:
            anchors[before] = (anchors[before][0], tokens)
            before -= 1
        after = position + 1
        while after < len(anchors) and anchors[after][1] < tokens:
            anchors[after] = (anchors[after][0], tokens)
            after += 1
        return anchors[-1][1] - anchors[0][1] - size

    def cut(self, depth: int) -> None:
        """Lose what lies after `depth`, which is within the run and not its start."""
        kept = depth - self.first
        tokens = self.tokens_at(depth)
        del self.anchors[bisect_left(self.anchors, (depth,)) :]
        self.anchors.append((depth, tokens))
        del self.digests[kept:], self.ends[kept + 1 :]
        self.end = depth
        self.num_settled = min(self.num_settled, kept)
        self.counted = min(self.counted, depth)

    def split(self, depth: int) -> Run:
        """Part with what lies before `depth`, which is within the run and neither end: it becomes the parent; returns it."""
        leading = depth - self.first
        boundary = (depth, self.tokens_at(depth))
        position = bisect_left(self.anchors, boundary)
        head = Run(
            parent=self.parent,
            first=self.first,
            end=depth,
            digests=self.digests[:leading],
            ends=self.ends[: leading + 1],
            anchors=[*self.anchors[:position], boundary],
            booking=self.booking,
            booked_at=self.booked_at,
            num_settled=min(self.num_settled, leading),
            settled_at=self.settled_at,
            counted=min(self.counted, depth),
            num_children=1,
        )
        self.parent, self.first = head, depth
        del self.digests[:leading], self.ends[:leading]
        self.anchors = [boundary, *(anchor for anchor in self.anchors[position:] if anchor[0] > depth)]
        self.num_settled = max(0, self.num_settled - leading)
        return head
