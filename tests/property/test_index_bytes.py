"""Bytes of the index are estimates by constants: they are checked against what the allocator gives."""

import random
import tracemalloc

import pytest

from turnwise.index.capacity import Capacity
from turnwise.index.counts import Counts
from turnwise.index.mask_index import MaskIndex
from turnwise.index.predicted import PredictedRuns
from turnwise.types import PromptChain


@pytest.mark.parametrize(
    ("num_blocks", "event", "num_holders"), [(200_000, 128, 1), (60_000, 1, 1), (60_000, 128, 6), (60_000, 16, 3)]
)
def test_the_bytes_of_blocks_are_within_a_quarter_of_what_is_allocated(num_blocks, event, num_holders):
    rng = random.Random(3)
    tracemalloc.start(1)
    index = MaskIndex(Counts())
    slots = [index.open_slot(1 << 30) for _ in range(num_holders)]
    for _ in range(num_blocks // 2000):
        chain = [rng.getrandbits(60) for _ in range(2000)]
        for slot in slots:
            for start in range(0, 2000, event):
                index.store(slot, tuple(chain[start : start + event]), chain[start - 1] if start else None)
    del chain
    allocated = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.75 * allocated < index.num_bytes < 1.25 * allocated


@pytest.mark.parametrize(("num_segments", "turns"), [(40, 1), (100, 50), (2, 1)])
def test_the_bytes_of_predictions_are_within_a_quarter_of_what_is_allocated(num_segments, turns):
    rng = random.Random(3)
    tracemalloc.start(1)
    runs = PredictedRuns(Capacity(None, 1 << 40))
    while runs.num_segments < 20_000:
        digests = tuple(rng.randbytes(16) for _ in range(num_segments))
        ends = tuple(900 + 1000 * end for end in range(num_segments))
        for turn in range(1, turns + 1):
            length = num_segments * turn // turns
            runs.book(PromptChain(digests[:length], ends[:length]), length * 300, 1.0)
    del digests, ends
    allocated = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.75 * allocated < runs.num_bytes < 1.25 * allocated
