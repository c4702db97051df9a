"""Bytes of the whole index: what goes where there is too much, a slice at a time."""

from __future__ import annotations

from collections.abc import Collection

from turnwise.index.block_runs import BLOCK_BYTES
from turnwise.index.mask_index import MaskIndex
from turnwise.index.predicted import PredictedRuns

SEGMENTS_AT_ONCE = 16
"""Segments forgotten before it is looked again which replica has most."""


def trim_blocks(indexes: Collection[MaskIndex], max_bytes: int, max_blocks: int) -> int:
    """Forget the oldest blocks of whichever slot holds most, where all blocks exceed `max_bytes`: what was there is a miss.

    At most `max_blocks` of them; returns how many of these are not spent.
    """
    excess = sum(index.num_bytes for index in indexes) - max_bytes
    while excess > 0 and max_blocks > 0:
        index = max(indexes, key=_largest)
        before = index.num_bytes
        max_blocks -= index.evict_largest(min(max_blocks, excess // BLOCK_BYTES + 1))
        excess -= before - index.num_bytes
    return max_blocks


def trim_predicted(predicted: Collection[PredictedRuns], max_bytes: int, max_segments: int) -> int:
    """Forget what was retired or booked longest ago at whichever replica has most, where all predicted exceeds `max_bytes`.

    At most `max_segments` of it; returns how many of these are not spent.
    """
    while max_segments > 0 and sum(runs.num_bytes for runs in predicted) > max_bytes:
        largest = max(predicted, key=_num_bytes)
        slice_size = min(max_segments, SEGMENTS_AT_ONCE)
        max_segments -= slice_size - largest.forget(slice_size)
    return max_segments


def _largest(index: MaskIndex) -> int:
    return index.largest


def _num_bytes(runs: PredictedRuns) -> int:
    return runs.num_bytes
