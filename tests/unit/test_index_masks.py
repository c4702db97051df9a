"""Blocks by hash and holder: depth, walks, bounds, slots that come again."""

from array import array

from turnwise.index.counts import Counts
from turnwise.index.mask_index import MaskIndex
from turnwise.index.masks import slots_of


def index_with(*holdings, max_blocks=1_000_000, stride=64):
    counts = Counts()
    index = MaskIndex(counts, verify_stride=stride)
    for blocks in holdings:
        slot = index.open_slot(max_blocks)
        index.store(slot, blocks, None)
    return index, counts


def depths(index, chain, wanted=-1):
    return dict(index.depths(array("Q", chain), len(chain), wanted))


def test_each_holder_is_as_deep_as_the_prefix_it_holds_and_others_are_left_out():
    chain = range(100, 200)
    index, _ = index_with(chain, chain[:37], chain[:1], range(500, 600), chain[:37])
    assert depths(index, chain) == {0: 100, 1: 37, 2: 1, 4: 37}
    assert depths(index, chain, wanted=0b10110) == {1: 37, 2: 1, 4: 37}


def test_only_the_asked_length_of_a_chain_counts():
    index, _ = index_with(range(100, 200))
    assert index.depths(array("Q", range(100, 200)), 10, -1) == {0: 10}
    assert index.depths(array("Q", range(100, 200)), 0, -1) == {}


def test_blocks_removed_tail_first_shorten_the_depth_one_by_one():
    chain = list(range(100, 110))
    index, _ = index_with(chain)
    for left in range(9, -1, -1):
        index.remove(0, [chain[left]])
        assert depths(index, chain) == ({0: left} if left else {})
    assert index.num_unique_blocks == 0


def test_removing_from_one_holder_leaves_the_other():
    index, _ = index_with([1, 2, 3], [1, 2, 3])
    index.remove(0, [2, 3])
    assert depths(index, [1, 2, 3]) == {0: 1, 1: 3}


def test_a_hole_at_the_stride_cuts_the_deepest_and_is_counted():
    chain = list(range(1000, 1300))
    index, counts = index_with(chain, chain[:100])
    index.remove(0, [chain[64]])
    assert depths(index, chain) == {0: 64, 1: 100}
    assert counts.num_holes == 1


def test_of_a_long_chain_every_hole_as_wide_as_its_stride_is_found():
    chain = list(range(100_000, 110_000))
    for start in (1, 2_500, 9_600):
        index, counts = index_with(chain)
        index.remove(0, chain[start : start + 320])
        assert depths(index, chain) == {0: start}
        assert counts.num_holes == 1


def test_a_slot_comes_again_only_when_none_of_its_blocks_is_left():
    index, _ = index_with(range(100, 200))
    index.retire_slot(0)
    assert index.open_slot(10) == 1
    assert index.has_retired
    assert index.sweep(60) == 0
    assert index.open_slot(10) == 2
    assert index.sweep(60) == 20
    assert not index.has_retired
    assert index.num_unique_blocks == 0
    assert index.open_slot(10) == 0
    assert depths(index, range(100, 200)) == {}


def test_past_its_bound_a_slot_loses_its_oldest_blocks():
    index, counts = index_with([1, 2, 3], max_blocks=4)
    index.store(0, [4, 5, 6], 3)
    assert index.num_blocks(0) == 4
    assert counts.num_evicted_blocks == 2
    assert depths(index, [1]) == {}
    assert depths(index, [3, 4, 5, 6]) == {0: 4}


def test_a_walk_gives_blocks_in_prompt_order_from_the_head_or_from_a_stop():
    index, _ = index_with([1, 2, 3])
    index.store(0, [4, 5], 3)
    whole = index.walk(5, ())
    assert (whole.blocks, whole.stop, whole.is_whole) == ([1, 2, 3, 4, 5], None, True)
    part = index.walk(5, {2})
    assert (part.blocks, part.stop, part.is_whole) == ([3, 4, 5], 2, True)
    nothing = index.walk(5, {5})
    assert (nothing.blocks, nothing.stop, nothing.is_whole) == ([], 5, True)


def test_blocks_between_two_are_told_by_one_run_and_by_no_more_than_one():
    index, _ = index_with([1, 2, 3])
    index.store(0, range(10, 310), 3)
    assert list(index.between(1, 3)) == [2, 3]
    assert list(index.between(1, 2)) == [2]
    assert list(index.between(3, 3)) == []
    assert list(index.between(3, 12)) == [10, 11, 12]  # the run of 12 hangs on 3
    assert index.between(2, 12) is None
    assert index.between(3, 2) is None
    assert index.between(10, 309) is None  # in another run, for one has 256 blocks at most
    assert index.between(10, 400) is None


def test_a_walk_to_an_unknown_parent_is_not_whole_unless_another_holder_knows_it():
    index, _ = index_with([])
    index.store(0, [4, 5], 3)
    assert not index.walk(5, ()).is_whole
    other = index.open_slot(100)
    index.store(other, [1, 2, 3], None)
    assert index.walk(5, ()).blocks == [1, 2, 3, 4, 5]


def test_a_circle_of_parents_ends_and_is_not_whole():
    index, _ = index_with([])
    index.store(0, [7, 8], 8)
    assert not index.walk(8, ()).is_whole


def test_slots_of_are_those_of_the_set_bits_whether_few_or_many():
    for slots in ([], [0], [299], [3, 64, 65], range(1, 300, 2)):
        assert sorted(slots_of(sum(1 << slot for slot in slots))) == list(slots)


def test_an_event_longer_than_a_run_is_one_chain():
    chain = list(range(1000, 1700))
    index, _ = index_with(chain, chain[:511])
    assert depths(index, chain) == {0: 700, 1: 511}
    assert index.walk(chain[-1], ()).blocks == chain


def test_a_block_that_nobody_holds_still_tells_the_chain_of_those_after_it():
    index, _ = index_with([1, 2, 3])
    index.remove(0, [2])
    assert index.walk(3, ()).blocks == [1, 2, 3]
    index.store(0, [2], 1)
    assert index.walk(3, ()).blocks == [1, 2, 3]
    assert index.walk(2, ()).blocks == [1, 2]


def test_storing_nothing_changes_nothing():
    index, _ = index_with([])
    assert index.num_blocks(0) == index.num_unique_blocks == 0
    assert not index._runs.extents


def test_several_holders_with_holes_are_each_cut_at_their_own():
    chain = list(range(1000, 1300))
    index, counts = index_with(chain, chain, chain, chain[:90])
    index.remove(0, [chain[128]])
    index.remove(1, [chain[0], chain[64]])
    assert depths(index, chain) == {0: 128, 2: 300, 3: 90}
    index.remove(2, [chain[192]])
    assert depths(index, chain) == {0: 128, 2: 192, 3: 90}
    assert counts.num_holes == 3


def test_nothing_is_verified_at_stride_zero():
    chain = list(range(1000, 1300))
    index, counts = index_with(chain, stride=0)
    index.remove(0, [chain[64]])
    assert depths(index, chain) == {0: 300}
    assert counts.num_holes == 0
