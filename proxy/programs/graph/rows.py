"""The rows of a program's graph: a forest of blocks in columns, 34 bytes a row, each row after its parent."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from turnwise.proxy.programs.graph.blocks import BlockKind, State
from turnwise.types import Digest

DIGEST_BYTES = 16

MAX_TOKENS = 1 << 30
"""More than any prompt has: what an engine says beyond it is not believed."""

KINDS = tuple(BlockKind)
STATES = tuple(State)
KIND_MASK, STATE_SHIFT, STATE_MASK, HINT_SHIFT, HINT_MASK, GOES_ON = 0b111, 3, 0b11 << 3, 5, 0b11 << 5, 1 << 7
"""A mark: three bits of kind, two of state, two of hinted retention, and one where the next row is the same block."""

SESSION_HINT, DURABLE_HINT, EPHEMERAL_HINT = 1, 2, 3
SYSTEM, TOOLS = KINDS.index(BlockKind.SYSTEM), KINDS.index(BlockKind.TOOLS)
LIVE = STATES.index(State.LIVE)

_SAID = bytes(8)
"""What a digest of something said ends with, while no prompt has repeated it; no digest of a prompt does."""


def said_digest(said: int) -> bytes:
    """The digest of a row that is known by what it says: xxh3_64 of that, 0 where it is not known."""
    return said.to_bytes(8) + _SAID


NOT_KNOWN = said_digest(0)


class Rows:
    """Rows by number; a row is used by each live child and by each line whose tip it is, and is live while it is used."""

    __slots__ = ("_digests", "ends", "marks", "origins", "parents", "uses")

    def __init__(self) -> None:
        self._digests = bytearray()
        self.parents = array("i")
        """-1 where there is none."""
        self.ends = array("I")
        """Tokens of the prompt up to the end of the row."""
        self.origins = array("Q")
        """The call that first had it: agent and, in the lower half, turn."""
        self.uses = array("H")
        self.marks = array("B")

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.parents)

    def extend(self, parent: int, digests: Sequence[bytes], ends: Sequence[int], marks: Sequence[int], origin: int) -> int:
        """Add a chain of rows under `parent`, -1 for none; returns the last, which nobody uses yet."""
        first, count = len(self.parents), len(digests)
        self._digests += b"".join(digests)
        self.parents.append(parent)
        self.parents.extend(range(first, first + count - 1))
        self.ends.extend(ends)
        self.marks.extend(marks)
        self.origins.extend([origin] * count)
        self.uses.extend([1] * (count - 1))
        self.uses.append(0)
        if parent >= 0:
            self.uses[parent] += 1
        return first + count - 1

    def digest(self, row: int) -> bytes:
        """See `extend`."""
        return bytes(self._digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES])

    def name(self, row: int, digest: bytes) -> None:
        """Give a row another digest."""
        self._digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] = digest

    def is_said(self, row: int) -> bool:
        """Whether no prompt has been seen to end with this row: it was generated."""
        return self._digests.startswith(_SAID, row * DIGEST_BYTES + 8)

    def is_head(self, row: int) -> bool:
        """Whether it is of what stands before the turns, which others begin with too."""
        return self.marks[row] & KIND_MASK in (SYSTEM, TOOLS)

    def is_durable(self, row: int) -> bool:
        """Whether it outlives its program: a hint says so, or it stands before the turns and none says otherwise."""
        hint = (self.marks[row] & HINT_MASK) >> HINT_SHIFT
        return hint == DURABLE_HINT or (hint != EPHEMERAL_HINT and self.is_head(row))

    def is_live(self, row: int) -> bool:
        """Whether some line goes on through it."""
        return not self.marks[row] & STATE_MASK

    def find(self, digest: bytes, before: int | None = None) -> int:
        """The newest row of this digest, of those before number `before`; -1 where there is none."""
        digests = self._digests
        at = digests.rfind(digest, 0, len(digests) if before is None else before * DIGEST_BYTES)
        while at >= 0 and at % DIGEST_BYTES:
            at = digests.rfind(digest, 0, at + DIGEST_BYTES - 1)
        return at // DIGEST_BYTES

    def known(self, digests: Sequence[Digest]) -> tuple[int, int]:
        """How many leading segments of a prompt are here, and the row of the last of them, -1 for none.

        A prompt that is here is so with all its prefixes, and most prompts add a few segments: it is looked for from the end in
        steps that double, then by bisection.
        """
        high = len(digests) + 1
        low, step = len(digests), 1
        row = self.find(digests[-1])
        while row < 0:
            high, low = low, low - step
            if low <= 0:
                low = 0
                break
            row, step = self.find(digests[low - 1]), step * 2
        while high - low > 1:
            middle = (low + high) // 2
            found = self.find(digests[middle - 1])
            if found < 0:
                high = middle
            else:
                low, row = middle, found
        return low, row

    def hold(self, row: int) -> None:
        """Somebody uses a row: it is live again, with all before it, where it was not."""
        self.uses[row] += 1
        while not self.is_live(row):
            self.marks[row] &= ~STATE_MASK & 0xFF
            row = self.parents[row]
            if row < 0:
                break
            self.uses[row] += 1

    def release(self, row: int, state: State) -> int:
        """Somebody uses a row no more: it gets this state, and those before it, as far as nobody uses them and none is durable.

        Returns the first row that stays as it was, -1 for none.
        """
        mark = STATES.index(state) << STATE_SHIFT
        uses, marks, parents = self.uses, self.marks, self.parents
        while row >= 0:
            uses[row] -= 1
            if uses[row] or self.is_durable(row):
                break
            marks[row] |= mark
            row = parents[row]
        return row

    def hint(self, row: int, hint: int) -> None:
        """Put down what a hint says of one row, in place of what was hinted before."""
        self.marks[row] = self.marks[row] & ~HINT_MASK | hint << HINT_SHIFT

    def hint_up_to(self, row: int, hint: int) -> None:
        """Put down what a hint says of all rows up to this one; longer retention than that stays."""
        while row >= 0:
            had = (self.marks[row] & HINT_MASK) >> HINT_SHIFT
            if had in (hint, DURABLE_HINT):
                break
            self.hint(row, hint)
            row = self.parents[row]

    def path(self, row: int) -> tuple[Digest, ...]:
        """Digests of the prompt that ends with a row, or with what stands before it where that was only said."""
        path = []
        while row >= 0:
            if not self.is_said(row):
                path.append(Digest(self.digest(row)))
            row = self.parents[row]
        path.reverse()
        return tuple(path)

    def count(self, row: int, first: int, num_tokens: int) -> None:
        """The prompt that ends with `row` has `num_tokens`: its own rows, from `first` on, share what is not before them.

        What stands before them is believed less where the prompt has less than that; what follows, more where it has more.
        """
        ends, parents = self.ends, self.parents
        num_tokens = min(num_tokens, MAX_TOKENS)
        base = parents[first]
        before = base
        while before >= 0 and ends[before] > num_tokens:
            ends[before] = num_tokens
            before = parents[before]
        start = ends[base] if base >= 0 else 0
        had, has = ends[row] - start, num_tokens - start
        if had > 0:
            ends[first : row + 1] = array("I", [start + max(0, end - start) * has // had for end in ends[first : row + 1]])
        ends[row] = num_tokens
        for later in range(row + 1, len(parents)):
            parent = parents[later]
            if parent >= row and ends[later] < ends[parent]:
                ends[later] = ends[parent]
