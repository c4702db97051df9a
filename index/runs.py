"""A run: neighbouring segments of prompts that were sent together and that no other prompt has parted since."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter

import msgspec

from turnwise.index.estimate import tokens_between
from turnwise.types import Digest

_tokens_of = itemgetter(1)


class Run(msgspec.Struct, gc=False, eq=False):
    """Some segments of a prompt: those after its first `first` and up to `end`. A depth counts segments from its start.

    All of them were last booked together: by booking number `booking`, at `booked_at`. `digests` and `ends`, the bytes of the
    prompt, have an entry a segment; they are slices of a prompt's chain, or all of it. `tail` is the last digest. Its parent
    ends where it begins, and no run was booked later than its parent.
    """

    parent: Run | None
    first: int
    end: int
    tail: Digest
    digests: tuple[Digest, ...]
    ends: tuple[int, ...]
    start_bytes: int
    """Bytes of the prompt up to where it begins."""
    base: int
    """Tokens of the prompt up to there."""
    tokens: int
    """Tokens of the prompt up to its end."""
    anchors: tuple[tuple[int, int], ...]
    """Depths within, neither end, with the tokens up to there; ascending in both, and never beyond `base` and `tokens`."""
    booking: int
    booked_at: float
    num_settled: int = 0
    """Leading segments that an answer has proved resident."""
    counted: int = 0
    """Depth up to which its tokens come from counts of engines, and not from an estimate of a whole prompt."""
    num_children: int = 0
    answer_tokens: int = 0
    """Tokens that were generated after its end and that no prompt has carried yet; 0 where it has children."""
    was: Sequence[tuple[int, int, int]] = ()
    """Of the prompt that was last booked to end here, until it is answered: for each run on its way that an answer had proved
    resident, the tokens up to its start, those up to its end, and the use before."""
    was_answer: int = 0
    """Generated tokens expected to follow them then."""
    num_lost: int = 0
    """Tokens at its end that are not believed to be held any more."""
    sent: int = 0
    """The use by which a prompt was last sent that ends here."""
    edge: int = 0
    """The use up to which all was believed lost then."""
    num_filled: int = 0
    """Tokens that had been put into the cache, all in all, when it had last been booked."""

    @property
    def size(self) -> int:
        """Tokens of its own."""
        return self.tokens - self.base + self.answer_tokens

    def tokens_at(self, depth: int) -> int:
        """Tokens of the prompt up to `depth`, which lies in this run or at its start."""
        if depth == self.end:
            return self.tokens
        if not self.anchors:
            return tokens_between(self.base, self.tokens, self.start_bytes, self.ends[-1], self._bytes_at(depth))
        (left_at, left), (right_at, right) = self._around(bisect_left(self.anchors, (depth + 1,)))
        return tokens_between(left, right, self._bytes_at(left_at), self._bytes_at(right_at), self._bytes_at(depth))

    def depth_at(self, tokens: int) -> int:
        """The deepest depth up to which the prompt has no more than `tokens`; the run's start where even that has more."""
        if tokens >= self.tokens:
            return self.end
        if tokens < self.base:
            return self.first
        first, ends = self.first, self.ends
        if self.anchors:
            (left_at, left), (right_at, right) = self._around(bisect_right(self.anchors, tokens, key=_tokens_of))
            left_bytes = self._bytes_at(left_at)
            right_bytes = self._bytes_at(right_at)
        else:
            left_at, left, right_at, right = first, self.base, self.end, self.tokens
            left_bytes, right_bytes = self.start_bytes, ends[-1]
        # The inverse of `tokens_between`, so that all between them are looked through at once.
        most = left_bytes + ((tokens - left + 1) * (right_bytes - left_bytes) - 1) // (right - left)
        return first + bisect_right(ends, max(left_bytes, most), left_at - first, right_at - first - 1)

    def measure(self, depth: int, tokens: int) -> int:
        """Take in that the prompt has `tokens` up to `depth`; returns by how much the run's own tokens have grown.

        Older anchors that cannot be true beside it give way.
        """
        first, end, anchors = self.first, self.end, self.anchors
        size = self.tokens - self.base
        if anchors and (depth < end or anchors[-1][1] > tokens):
            self.anchors = anchors = tuple(
                [(at, min(had, tokens) if at < depth else max(had, tokens)) for at, had in anchors if at != depth]
            )
        if first < depth < end:
            position = bisect_left(anchors, (depth,))
            self.anchors = (*anchors[:position], (depth, tokens), *anchors[position:])
        if depth == end or self.tokens < tokens:
            self.tokens = tokens
        if depth == first or self.base > tokens:
            self.base = tokens
        return self.tokens - self.base - size

    def lengthen(self, digests: tuple[Digest, ...], ends: tuple[int, ...], tokens: int) -> None:
        """Go on to the end of a longer prompt of which this is a part, and which has `tokens`."""
        first = self.first
        self.anchors += ((self.end, self.tokens),)
        self.end, self.tail, self.tokens = len(digests), digests[-1], tokens
        self.digests, self.ends = digests[first:], ends[first:]

    def cut(self, depth: int) -> int:
        """Lose what lies after `depth`, which is within the run and not its start; returns how many tokens that is."""
        had, kept = self.tokens + self.answer_tokens, depth - self.first
        self.tokens = tokens = self.tokens_at(depth)
        self.answer_tokens = 0
        self.num_lost = max(0, self.num_lost - (had - tokens))
        if self.anchors:
            self.anchors = self.anchors[: bisect_left(self.anchors, (depth,))]
        self.digests, self.ends = self.digests[:kept], self.ends[:kept]
        self.end, self.tail = depth, self.digests[-1]
        self.num_settled = min(self.num_settled, kept)
        self.counted = min(self.counted, depth)
        return had - tokens

    def split(self, depth: int) -> Run:
        """Part with what lies before `depth`, which is within the run and neither end: it becomes the parent; returns it."""
        leading, tokens, anchors = depth - self.first, self.tokens_at(depth), self.anchors
        position = bisect_left(anchors, (depth,))
        head = Run(
            parent=self.parent,
            first=self.first,
            end=depth,
            tail=self.digests[leading - 1],
            digests=self.digests[:leading],
            ends=self.ends[:leading],
            start_bytes=self.start_bytes,
            base=self.base,
            tokens=tokens,
            anchors=anchors[:position],
            booking=self.booking,
            booked_at=self.booked_at,
            num_settled=min(self.num_settled, leading),
            counted=min(self.counted, depth),
            num_children=1,
        )
        self.parent, self.first = head, depth
        head.num_lost = max(0, self.num_lost - (self.tokens + self.answer_tokens - tokens))
        self.num_lost -= head.num_lost
        self.digests, self.ends, self.start_bytes = self.digests[leading:], self.ends[leading:], head.ends[-1]
        self.base, self.anchors = tokens, anchors[bisect_left(anchors, (depth + 1,)) :]
        self.num_settled = max(0, self.num_settled - leading)
        return head

    def _around(self, position: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The anchors before and at `position`, or the run's start and end."""
        anchors = self.anchors
        left = anchors[position - 1] if position else (self.first, self.base)
        return left, anchors[position] if position < len(anchors) else (self.end, self.tokens)

    def _bytes_at(self, depth: int) -> int:
        first = self.first
        return self.ends[depth - first - 1] if depth > first else self.start_bytes
