"""Slower media, copies, unreadable removals, and what goes where there are too many bytes."""

import random

import pytest

from turnwise.events import DISK, DRAM, BlocksRemoved, BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report
from turnwise.index.block_runs import UNKNOWN_PARENT
from turnwise.index.counts import Counts
from turnwise.index.holder import MAX_COPIES
from turnwise.index.mask_index import MaskIndex
from turnwise.settings import IndexSettings
from turnwise.types import CallId, Hit, HitSource, PromptChain

BLOCK = 16
KEY = DomainKey(model="m", block_size=BLOCK, algorithm="sha256")
CHAIN = tuple(range(100, 200))
PROMPT = PromptChain((b"p" * 16,), (6400,))
GROWN = PromptChain((b"p" * 16, b"q" * 16), (6400, 8000))


@pytest.fixture
def index():
    """Replica a was taught a prompt of 100 blocks; b has never been called."""
    index = KvIndex(IndexSettings(bytes_per_token=4.0, predicted_ttl_s=10.0, unconfirmed_ttl_s=10.0))
    for name in ("a", "b"):
        index.add_replica(name, KEY, num_blocks=1000, has_events=True)
    apply(index, "a", BlocksStored(CHAIN, None, BLOCK, call_id="c"))
    assert index.settle(CallId("c"), PROMPT, "a", Report(1601), 0.0).is_taught
    return index


def apply(index, replica, *events, **more):
    index.apply(replica, EventBatch(0, 0, events, **more), 0.0)


def hit(index, replica="b", prompt=GROWN, now=10_000.0):
    return index.residency(prompt, [replica], now).hits[replica]


def blocks(total, source=HitSource.CONFIRMED, dram=0, disk=0):
    return Hit(total * BLOCK, source, dram * BLOCK, disk * BLOCK)


def test_a_hit_goes_on_in_dram_and_on_disk_and_stops_at_the_first_block_that_neither_has(index):
    apply(index, "b", BlocksStored(CHAIN[:20], None, BLOCK))
    apply(index, "b", BlocksStored(CHAIN[:30], None, BLOCK, DRAM), BlocksStored(CHAIN[30:40], CHAIN[29], BLOCK, DISK))
    apply(index, "b", BlocksStored(CHAIN[41:], CHAIN[40], BLOCK, DRAM))
    assert hit(index) == blocks(40, dram=10, disk=10)
    assert hit(index, "a") == blocks(100)


def test_a_block_in_dram_and_on_disk_is_brought_up_from_dram(index):
    apply(index, "b", BlocksStored(CHAIN, None, BLOCK, DISK), BlocksStored(CHAIN[:60], None, BLOCK, DRAM))
    assert hit(index) == blocks(100, dram=60, disk=40)


def test_blocks_named_without_their_order_extend_a_hit_and_teach_no_parent(index):
    for block in reversed(CHAIN):
        apply(index, "b", BlocksStored((block,), None, 0, DRAM, is_chained=False))
    assert hit(index) == blocks(100, dram=100)


def test_a_prompt_whose_blocks_were_first_named_without_order_is_taught_once_the_gpu_stores_them():
    index = KvIndex(IndexSettings(bytes_per_token=4.0))
    index.add_replica("a", KEY, num_blocks=1000, has_events=True)
    apply(
        index, "a", *[BlocksStored((block,), None, 0, DRAM, is_chained=False) for block in random.Random(1).sample(CHAIN, 100)]
    )
    apply(index, "a", BlocksStored(CHAIN, None, BLOCK, call_id="c"))
    assert index.settle(CallId("c"), PROMPT, "a", Report(1601), 0.0).is_taught
    assert hit(index, "a") == blocks(100)


def test_the_end_of_a_prompt_and_what_was_just_sent_need_no_transfer(index):
    apply(index, "b", BlocksStored(CHAIN, None, BLOCK, DRAM))
    assert hit(index, prompt=PROMPT) == blocks(100, dram=100)
    index.book(CallId("d"), PROMPT, "b", 1601, 100.0)
    assert hit(index, prompt=PROMPT, now=101.0) == blocks(100, HitSource.PREDICTED)


def test_slower_blocks_go_with_their_removal_a_stale_feed_and_a_restart(index):
    apply(index, "b", BlocksStored(CHAIN, None, BLOCK, DRAM))
    apply(index, "b", BlocksRemoved(CHAIN[70:], DRAM))
    assert hit(index) == blocks(70, dram=70)
    index.set_stale("b", True)
    assert hit(index) == Hit()
    index.set_stale("b", False)
    assert hit(index) == blocks(70, dram=70)
    index.drop_blocks("b")
    assert hit(index) == Hit()


@pytest.mark.parametrize(
    "event",
    [
        BlocksStored(CHAIN, None, 32, DRAM),
        BlocksStored(CHAIN, None, BLOCK, DRAM, group=1),
        BlocksStored(CHAIN, None, BLOCK, "TAPE"),
    ],
)
def test_blocks_of_another_size_group_or_medium_count_as_elsewhere_and_are_no_residency(index, event):
    apply(index, "b", event)
    assert hit(index) == Hit()
    assert index.stats().replicas["b"].num_blocks_elsewhere == 100
    assert index.stats().replicas["b"].elsewhere == (event.medium,)


def test_however_many_media_nonsense_names_a_few_are_kept(index):
    apply(index, "b", *[BlocksStored((5,), None, BLOCK, f"M{number}") for number in range(100)])
    assert len(index.stats().replicas["b"].elsewhere) == 8


def test_a_block_that_was_computed_twice_stays_until_both_copies_are_gone(index):
    apply(index, "a", BlocksStored(CHAIN, None, BLOCK, call_id="racing"))
    assert index.stats().replicas["a"].num_copies == 100
    apply(index, "a", *[BlocksRemoved((block,)) for block in reversed(CHAIN)])
    assert hit(index, "a") == blocks(100)
    apply(index, "a", *[BlocksRemoved((block,)) for block in reversed(CHAIN[40:])])
    assert hit(index, "a") == blocks(40)


def test_a_call_that_was_asked_to_report_repeats_blocks_and_adds_no_copies(index):
    index.book(CallId("asked"), PROMPT, "a", 1601, 0.0, reports=True)
    apply(index, "a", BlocksStored(CHAIN, None, BLOCK, call_id="asked"))
    assert index.stats().replicas["a"].num_copies == 0
    apply(index, "a", BlocksRemoved(CHAIN[40:]))
    assert hit(index, "a") == blocks(40)


def test_copies_are_counted_up_to_a_bound_and_forgotten_with_their_blocks():
    index = MaskIndex(Counts())
    slot = index.open_slot(200)
    for _ in range(3):
        index.store(slot, range(100), None, counts_copies=True)
    assert index.num_copies(slot) == 200
    index.store(slot, range(1000, 1150), None, counts_copies=True)
    assert index.num_copies(slot) < 200
    assert all(index._holders[slot].copies.keys() & {block} for block in range(70, 100))
    index.store(slot, range(10), None, counts_copies=True)
    index.remove(slot, range(10))
    assert index.along(range(10), 0, 10, [slot]) == [0]
    many = index.open_slot(1 << 20)
    for _ in range(2):
        index.store(many, range(5000, 5000 + MAX_COPIES + 300), None, counts_copies=True)
    assert index.num_copies(many) == MAX_COPIES


def test_a_removal_that_could_not_be_read_drops_what_was_known_of_that_replica_alone(index):
    apply(index, "b", BlocksStored(CHAIN, None, BLOCK))
    apply(index, "b", BlocksStored((1, 2), None, BLOCK), hides_removal=True)
    assert hit(index, "b") == Hit()
    assert hit(index, "a") == blocks(100)
    apply(index, "b", BlocksStored(CHAIN[:10], None, BLOCK))
    assert hit(index, "b") == blocks(10)


def test_a_circle_of_parents_over_several_runs_ends_after_each_of_them_once():
    index = MaskIndex(Counts())
    slot = index.open_slot(1000)
    index.store(slot, (1, 2), 6)
    index.store(slot, (5, 6), 2)
    walk = index.walk(6, ())
    assert (walk.blocks, walk.is_whole) == ([1, 2, 5, 6], False)


def test_a_block_without_a_known_parent_is_no_head():
    index = MaskIndex(Counts())
    slot = index.open_slot(1000)
    index.store(slot, (7,), UNKNOWN_PARENT)
    assert not index.walk(7, ()).is_whole
    index.store(index.open_slot(1000), (7, 8), None)
    assert index.walk(8, ()).is_whole


def test_blocks_past_their_bytes_go_from_the_largest_holder_oldest_first():
    index = KvIndex(IndexSettings(max_block_bytes=100_000))
    for name in ("small", "large"):
        index.add_replica(name, KEY, num_blocks=None, has_events=True)
    for first in range(0, 5000, 100):
        apply(index, "large", BlocksStored(tuple(range(10_000 + first, 10_100 + first)), None, BLOCK))
    apply(index, "small", BlocksStored(CHAIN, None, BLOCK))
    assert index.stats().num_block_bytes > 400_000
    while index.sweep(0.0):
        pass
    stats = index.stats()
    assert 90_000 < stats.num_block_bytes <= 100_000
    assert stats.replicas["small"].num_blocks == 100
    assert stats.num_evicted_blocks == 5000 - stats.replicas["large"].num_blocks
    mask_index = next(iter(index._domains)).index
    assert mask_index.walk(14_999, ()).is_whole
    assert not mask_index.walk(10_050, ()).is_whole


def test_predictions_past_their_bytes_go_oldest_first_from_the_replica_that_has_most():
    index = KvIndex(IndexSettings(max_predicted_bytes=20_000))
    for name in ("small", "large"):
        index.add_replica(name, DomainKey("m"), num_blocks=None, has_events=False)
    prompts = [PromptChain((bytes([number]) * 16,), (400,)) for number in range(100)]
    for number, prompt in enumerate(prompts):
        index.book(CallId(f"c{number}"), prompt, "small" if number < 10 else "large", 100, float(number))
    assert index.stats().num_predicted_bytes > 20_000
    while index.sweep(100.0):
        pass
    assert 10_000 < index.stats().num_predicted_bytes <= 20_000
    assert all(index.residency(prompt, ["small"], 100.0).hits["small"].tokens for prompt in prompts[:10])
    assert index.residency(prompts[-1], ["large"], 100.0).hits["large"].tokens
    assert not index.residency(prompts[10], ["large"], 100.0).hits["large"].tokens
