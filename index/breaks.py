"""Where a prompt was rendered otherwise than what was taught of it before."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from turnwise.index.estimate import tokens_at


class Break(msgspec.Struct):
    """What one lesson contradicted, while the entries of its prompt are gone through from the deepest on.

    Of the deepest whole prompt that was contradicted, `common` blocks still serve and `lost` do not. `parted` are the whole
    prompts that reach beyond the common part, with their tokens, deepest first; `agreed` is the deepest that does not.
    """

    common: int
    lost: int
    parted: list[tuple[int, int]]
    agreed: tuple[int, int] | None = None

    def take(self, boundary: int, num_tokens: int, *, agrees: bool) -> None:
        """Take in the next whole prompt on the way to the head, its length as it was known."""
        if self.agreed is None and agrees:
            self.agreed = (boundary, num_tokens)
        elif self.agreed is None:
            self.parted.append((boundary, num_tokens))

    def segment(self, ends: Sequence[int], bytes_per_token: float, block_size: int) -> int:
        """The segment in which the two part: exact to a block where its ends are known, else by share of bytes."""
        parted = self.parted[::-1]
        anchors = parted if self.agreed is None else [self.agreed, *parted]
        low, high = 0 if self.agreed is None else self.agreed[0] + 1, parted[0][0]
        position = self.common * block_size + block_size // 2  # somewhere in the first block that differs
        while low < high:
            middle = (low + high) // 2
            if tokens_at(ends, anchors, bytes_per_token, middle) > position:
                high = middle
            else:
                low = middle + 1
        return low
