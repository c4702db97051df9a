"""One digest's share of the evidence, and the engine block chain that it and others point along."""

from __future__ import annotations

from array import array

import msgspec

from turnwise.types import Answer, Digest

ENTRY_BYTES = 320
"""Memory of one entry with its digest, its place in the order and its numbers."""

CHAIN_BYTES = 160
"""Memory of a block chain besides its blocks."""

BLOCK_BYTES = 9
"""Memory of one block in a chain: 8 bytes, and the room by which an array grows ahead."""

ANSWER_BYTES = 320
"""Memory of what an answer said, besides the blocks that were decoded for it."""

PAIRS_PER_WINDOW = 8
"""Pairs after which a common prefix is their minimum alone: one for ever would not recover from a change of the template."""


class BlockChain:
    """An engine's block hashes from the head of a prompt on; entries share it, and it grows with its session."""

    __slots__ = ("answered", "blocks", "num_entries", "taught_at")

    def __init__(self, blocks: array[int]) -> None:
        self.blocks = blocks
        self.num_entries = 0
        self.taught_at = 0
        """Number of the lesson that last said that it is so."""
        self.answered: Digest | None = None
        """The prompt whose answer the last of its blocks hold: they speak of nothing else, and go with that answer."""

    @property
    def num_bytes(self) -> int:
        """Memory it takes."""
        return CHAIN_BYTES + BLOCK_BYTES * len(self.blocks)


class Answered(msgspec.Struct, frozen=True, gc=False):
    """What was generated after a whole prompt: its chain holds the blocks decoded for it from `start` to its end."""

    said: Answer
    start: int
    num_tokens: int
    """Of prompt and answer."""


class Entry(msgspec.Struct, gc=False):
    """What is known of one digest; blocks count along `chain`.

    A digest is *whole* where some call's prompt ended there: `num_tokens` is then exact. It is *paired* where prompts that part
    after it have been compared: `shared_blocks` is their longest common prefix, the least of the recent ones. Else
    `estimated_blocks` goes by share of bytes.
    """

    chain: BlockChain
    parent: Digest | None
    num_tokens: int | None = None
    shared_blocks: int | None = None
    estimated_blocks: int = 0
    window_pairs: int = 0
    window_blocks: int = 0
    num_children: int = 0
    used_at: int = 0
    """Number of the lesson that last ended here."""
    has_reasoning: bool = False
    """Whether the last answer within it carries reasoning, which templates drop from old turns."""
    answered: Answered | None = None
    """What the last call with this whole prompt was answered, until the next turn shows what became of it."""

    def reach(self, block_size: int) -> int:
        """Blocks of `chain` that anything known of this digest speaks of."""
        whole = self.num_tokens // block_size if self.num_tokens is not None else 0
        return max(whole, self.shared_blocks or 0, self.estimated_blocks)

    def taught_blocks(self, block_size: int, *, is_exact: bool, trusts_growth: bool) -> int | None:
        """The blocks that this digest tells by the engine's word, None where it tells nothing of that kind.

        `is_exact` is whether the prompt ends here, `trusts_growth` whether one that goes on is believed to be rendered alike.
        """
        if self.num_tokens is None:
            return self.shared_blocks
        if is_exact:
            return self.num_tokens // block_size
        if not trusts_growth:
            return None
        return self.num_tokens // block_size if self.shared_blocks is None else self.shared_blocks

    def rests(self, common: int, block_size: int) -> bool:
        """Whether a prompt that goes on from here and shares `common` blocks of its chain has nothing new to say of it."""
        if self.shared_blocks is None or self.shared_blocks > common:
            return False
        return self.num_tokens is None or self.shared_blocks == self.num_tokens // block_size

    def pair(self, common: int) -> None:
        """Take in the common prefix with a prompt that parts from this chain right after this digest."""
        self.estimated_blocks = 0
        if self.shared_blocks is None or common < self.shared_blocks:
            self.shared_blocks = common
            self.window_pairs = 0
            return
        self.window_blocks = min(common, self.window_blocks) if self.window_pairs else common
        self.window_pairs += 1
        if self.window_pairs == PAIRS_PER_WINDOW:
            self.shared_blocks = self.window_blocks
            self.window_pairs = 0

    def grow(self, common: int, whole_blocks: int) -> bool:
        """Take in a prompt that goes on after this whole one; False where it shares fewer than its `whole_blocks`."""
        self.shared_blocks = min(common, whole_blocks)
        if common >= whole_blocks:
            return True
        self.num_tokens = None
        self.window_pairs = 0
        return False

    def doubt(self) -> None:
        """The engine does not render it so: nothing is known any more of how far it reaches."""
        self.num_tokens = self.shared_blocks = None
        self.estimated_blocks = self.window_pairs = 0

    def end_here(self, num_tokens: int | None, num_blocks: int, common: int) -> None:
        """Take in a prompt of `num_blocks` that ends at this digest; where nobody counted it, `num_blocks` is an estimate."""
        if num_tokens is None:
            self.estimated_blocks = num_blocks
            return
        if self.num_tokens is None and self.shared_blocks is None and common == num_blocks:
            self.estimated_blocks = 0
        elif self.num_tokens is None:
            self.pair(common)
        elif common < num_blocks or num_tokens != self.num_tokens:
            self.shared_blocks = None
        self.num_tokens = num_tokens
