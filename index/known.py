"""What evidence says of one prompt."""

from __future__ import annotations

import msgspec

from turnwise.index.entries import BlockChain
from turnwise.index.values import AnswerKind


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


UNKNOWN = Known()
