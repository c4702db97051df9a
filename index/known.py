"""What evidence says of one prompt."""

from __future__ import annotations

import msgspec

from turnwise.index.entries import BlockChain
from turnwise.index.values import AnswerKind

ALL_BLOCKS = 1 << 30
"""More than any prompt has."""


class Known(msgspec.Struct, frozen=True, gc=False):
    """What is believed of one prompt.

    `num_blocks` leading blocks of `chain` are believed to be this prompt's, the first `taught_blocks` of them by the engine's
    word and the rest by estimate. `anchors` are boundaries whose exact tokens are known, ascending in both: the deepest one at
    least, where there is any. Where `answer` is set, the last blocks and the last anchor are those of an answer of that kind,
    which has been generated and not yet been rendered.
    """

    chain: BlockChain | None = None
    num_blocks: int = 0
    taught_blocks: int = 0
    is_taught: bool = False
    anchors: tuple[tuple[int, int], ...] = ()
    answer: AnswerKind | None = None
    is_firm: bool = True
    """Whether what was taught of its beginning is believed to hold for it too."""
    lost_blocks: int = 0
    """How many more would be believed if its template rendered it as before: what is predicted of it has as many too many."""

    @property
    def confirmed_blocks(self) -> int:
        """How many are believed by the engine's word alone: none where its template breaks what it said of shorter prompts."""
        return self.taught_blocks if self.is_firm else 0


UNKNOWN = Known()
