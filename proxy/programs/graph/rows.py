"""The rows of a program's graph: a forest of blocks, 32 bytes a row in two buffers, each row after its parent."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from turnwise.proxy.programs.graph.blocks import BlockKind, State
from turnwise.types import Digest

DIGEST_BYTES = 16

MAX_ROWS = 1 << 15
"""Rows of one program, 1 MB: where a client changes the head of a long prompt with every call, all of it is new each time."""

MAX_TOKENS = (1 << 24) - 1
"""More than any prompt has: what an engine says beyond it is not believed."""

KINDS = tuple(BlockKind)
STATES = tuple(State)
SESSION_HINT, DURABLE_HINT, EPHEMERAL_HINT = 1, 2, 3
HEADS = frozenset({KINDS.index(BlockKind.SYSTEM), KINDS.index(BlockKind.TOOLS)})
"""Kinds of what stands before the turns, which others begin with too."""

_PARENT, _END, _ORIGIN = (1 << 16) - 1, MAX_TOKENS, (1 << 40) - 1
_USE, _KIND, _STATE, _HINT, _GOES_ON, _COUNTED = 1 << 16, 40, 44, 46, 1 << 48, 1 << 49
_USES = (1 << 24) - 1
"""A row is two numbers of 64 bits: parent plus one, uses, and what it is; then tokens up to its end, and its origin."""

_SAID = bytes(8)
"""What a digest of something said ends with, while no prompt has repeated it; no digest of a prompt does."""


def said_digest(said: int) -> bytes:
    """The digest of a row that is known by what it says: xxh3_64 of that, 0 where it is not known."""
    return said.to_bytes(8) + _SAID


NOT_KNOWN = said_digest(0)


def origin_of(agent: int, turn: int) -> int:
    """A call as rows keep it: 20 bits of agent, 20 of turn."""
    return (agent & 0xFFFFF) << 20 | turn & 0xFFFFF


def agent_of(origin: int) -> int:
    """The agent of a call as rows keep it."""
    return origin >> 20


def turn_of(origin: int) -> int:
    """The turn of a call as rows keep it."""
    return origin & 0xFFFFF


def mark_of(kind: BlockKind, *, goes_on: bool = False) -> int:
    """What a new row is; `goes_on` is whether the next row is the same block, if it is of that kind."""
    return KINDS.index(kind) << _KIND | (_GOES_ON if goes_on else 0)


GOES_ON = mark_of(KINDS[0], goes_on=True)


class Rows:
    """Rows by number; a row is used by each live child and by each line whose tip it is, and is live while it is used."""

    __slots__ = ("_digests", "_values")

    def __init__(self) -> None:
        self._digests = bytearray()
        self._values = array("Q")

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._values) >> 1

    def extend(self, parent: int, digests: Sequence[bytes], ends: Sequence[int], marks: Sequence[int], origin: int) -> int:
        """Add a chain of rows under `parent`, -1 for none; returns the last, which nobody uses yet.

        `ends` are tokens of the prompt up to the end of each, `marks` what each is, `origin` the call that has them first.
        """
        values, row = self._values, parent
        number = len(values) >> 1
        self._digests += b"".join(digests)
        for end, mark in zip(ends, marks, strict=True):
            values.append((row + 1) | _USE | mark)
            values.append(origin << 24 | min(end, MAX_TOKENS))
            row, number = number, number + 1
        values[-2] -= _USE
        if parent >= 0:
            self.use(parent)
        return row

    def digest(self, row: int) -> bytes:
        """The digest of the prompt up to the end of a row, or of what it says."""
        return bytes(self._digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES])

    def name(self, row: int, digest: bytes) -> None:
        """Give a row another digest."""
        self._digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] = digest

    def is_said(self, row: int) -> bool:
        """Whether no prompt has been seen to end with this row: it was generated."""
        return self._digests.startswith(_SAID, row * DIGEST_BYTES + 8)

    def parent(self, row: int) -> int:
        """The row before it; -1 where there is none."""
        return (self._values[row * 2] & _PARENT) - 1

    def move(self, row: int, parent: int) -> None:
        """Put a row under another parent, which it had nothing to do with."""
        self._values[row * 2] += parent - self.parent(row)

    def uses(self, row: int) -> int:
        """Live children, and lines that go on from it."""
        return self._values[row * 2] >> 16 & _USES

    def use(self, row: int, by: int = 1) -> None:
        """Somebody more uses a row; `by` is -1 where it is one less, though somebody still does."""
        self._values[row * 2] += by * _USE

    def kind(self, row: int) -> int:
        """Number of its kind among `KINDS`."""
        return self._values[row * 2] >> _KIND & 15

    def state(self, row: int) -> int:
        """Number of its state among `STATES`; 0 where it is live."""
        return self._values[row * 2] >> _STATE & 3

    def set_state(self, row: int, state: State) -> None:
        """Say what became of a row."""
        self._values[row * 2] += (STATES.index(state) - self.state(row)) << _STATE

    def hint(self, row: int) -> int:
        """What hints say of its retention; 0 for nothing."""
        return self._values[row * 2] >> _HINT & 3

    def set_hint(self, row: int, hint: int) -> None:
        """Put down what a hint says of one row, in place of what was hinted before."""
        self._values[row * 2] += (hint - self.hint(row)) << _HINT

    def goes_on(self, row: int) -> bool:
        """Whether the next row, if it hangs on this one and is of its kind, is the same block."""
        return self._values[row * 2] & _GOES_ON != 0

    def end(self, row: int) -> int:
        """Tokens of the prompt up to the end of a row; 0 for row -1."""
        return self._values[row * 2 + 1] & _END if row >= 0 else 0

    def set_end(self, row: int, end: int) -> None:
        """Say how many tokens there are up to the end of a row."""
        self._values[row * 2 + 1] += end - self.end(row)

    def is_counted(self, row: int) -> bool:
        """Whether an engine has counted the prompt that ends with a row."""
        return self._values[row * 2] & _COUNTED != 0

    def set_counted(self, row: int) -> None:
        """An engine has counted the prompt that ends with a row."""
        self._values[row * 2] |= _COUNTED

    def origin(self, row: int) -> int:
        """The call that had it first, as `origin_of` gives it."""
        return self._values[row * 2 + 1] >> 24

    def is_durable(self, row: int) -> bool:
        """Whether it outlives its program: a hint says so, or it stands before the turns and none says otherwise."""
        hint = self.hint(row)
        return hint == DURABLE_HINT or (hint != EPHEMERAL_HINT and self.kind(row) in HEADS)

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
        self.use(row)
        while self.state(row):
            self.set_state(row, State.LIVE)
            row = self.parent(row)
            if row < 0:
                break
            self.use(row)

    def release(self, row: int, state: State) -> int:
        """Somebody uses a row no more: it gets this state, and so do those before it that nobody uses and that are not durable.

        Returns the first row that stays as it was, -1 for none.
        """
        while row >= 0:
            self.use(row, -1)
            if self.uses(row) or self.state(row) or self.is_durable(row):
                break
            self.set_state(row, state)
            row = self.parent(row)
        return row

    def hint_up_to(self, row: int, hint: int) -> None:
        """Put down what a hint says of all rows up to this one; longer retention than that stays."""
        while row >= 0 and self.hint(row) not in (hint, DURABLE_HINT):
            self.set_hint(row, hint)
            row = self.parent(row)

    def path(self, row: int) -> tuple[Digest, ...]:
        """Digests of the prompt that ends with a row, or with what stands before it where that was only said."""
        path = []
        while row >= 0:
            if not self.is_said(row):
                path.append(Digest(self.digest(row)))
            row = self.parent(row)
        path.reverse()
        return tuple(path)

    def first_of(self, row: int) -> int:
        """The first of the rows that its call added one after the other up to `row`, and that end no prompt counted already."""
        first, origin = row, self.origin(row)
        while first and self.parent(first) == first - 1 and self.origin(first - 1) == origin and not self.is_counted(first - 1):
            first -= 1
        return first

    def count(self, first: int, row: int, num_tokens: int) -> None:
        """The prompt that ends with `row` has `num_tokens`: its own rows, from `first` on, share what is not before them.

        What stands before them is believed less where the prompt has less than that; what follows, more where it has more.
        """
        num_tokens = min(num_tokens, MAX_TOKENS)
        if num_tokens == self.end(row):
            return
        base = before = self.parent(first)
        while before >= 0 and self.end(before) > num_tokens:
            self.set_end(before, num_tokens)
            before = self.parent(before)
        start = self.end(base)
        had, has = self.end(row) - start, num_tokens - start
        if had > 0:
            for own in range(first, row):
                self.set_end(own, start + max(0, self.end(own) - start) * has // had)
        self.set_end(row, num_tokens)
        for later in range(row + 1, len(self)):
            parent = self.parent(later)
            if parent >= row and self.end(later) < self.end(parent):
                self.set_end(later, self.end(parent))
