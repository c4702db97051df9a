from array import array

import pytest

from turnwise.engines.sim.blocks import BlockOwner, BlockPool, Cleared, Removed, Stored, extend_hashes

OWNER = BlockOwner("m")


def chain(tokens, owner=OWNER, block_size=4):
    hashes = []
    extend_hashes(hashes, array("I", tokens), block_size, owner.root)
    return hashes


def fill(pool, tokens):
    """Run a prompt through the pool as one sequence would and leave it cached."""
    hashes = chain(tokens, block_size=pool.block_size)
    blocks = pool.allocate(len(hashes))
    pool.store(blocks, Stored(tuple(hashes), None, 0, array("I", tokens), OWNER))
    pool.release(blocks)
    return hashes


def test_a_hash_covers_everything_before_its_block():
    one, other = chain(range(12)), chain([99, *range(1, 12)])
    assert len(one) == 3
    assert not set(one) & set(other)


def test_only_full_blocks_have_hashes():
    assert len(chain(range(11))) == 2


@pytest.mark.parametrize("other", [BlockOwner("n"), BlockOwner("m", lora="a"), BlockOwner("m", salt="s")])
def test_model_adapter_and_salt_separate_equal_text(other):
    assert not set(chain(range(8))) & set(chain(range(8), other))


def test_a_session_stamp_does_not_separate_equal_text():
    assert chain(range(8)) == chain(range(8), BlockOwner("m", session_id="s"))


def test_hashes_extended_in_parts_are_those_of_the_whole():
    hashes = chain(range(4))
    extend_hashes(hashes, array("I", range(12)), 4, OWNER.root)
    assert hashes == chain(range(12))


def test_released_blocks_stay_findable_until_they_are_needed():
    pool = BlockPool(4, 4)
    hashes = fill(pool, range(8))
    assert len(pool.match(hashes, 8)) == 2
    pool.allocate(4)
    assert pool.match(hashes, 8) == []


def test_a_match_ends_at_its_limit():
    pool = BlockPool(4, 4)
    assert len(pool.match(fill(pool, range(16)), 2)) == 2


def test_eviction_takes_the_tail_of_a_sequence_first():
    pool = BlockPool(4, 4)
    hashes = fill(pool, range(16))
    pool.allocate(3)
    assert [event.hash for event in pool.events if isinstance(event, Removed)] == hashes[:0:-1]
    assert len(pool.match(hashes, 4)) == 1


def test_eviction_takes_what_was_used_longest_ago():
    pool = BlockPool(4, 4)
    old, young = fill(pool, range(8)), fill(pool, range(100, 108))
    pool.reuse(pool.match(old, 2))
    pool.release(pool.match(old, 2))
    pool.allocate(2)
    assert len(pool.match(old, 2)) == 2
    assert pool.match(young, 2) == []


def test_a_block_in_use_twice_is_free_after_both_gave_it_back():
    pool = BlockPool(2, 4)
    found = pool.match(fill(pool, range(4)), 1)
    pool.reuse(found)
    pool.reuse(found)
    pool.release(found)
    assert pool.num_free == 1
    pool.release(found)
    assert pool.num_free == 2


def test_room_beside_a_match_does_not_count_the_match_itself():
    pool = BlockPool(3, 4)
    hashes = fill(pool, range(8))
    assert pool.num_free == 3
    assert pool.num_free_beside(pool.match(hashes, 2)) == 1


def test_of_two_blocks_with_one_content_the_second_survives_the_first():
    pool = BlockPool(3, 4)
    fill(pool, range(4))
    hashes = fill(pool, range(4))
    pool.allocate(2)
    assert len(pool.match(hashes, 1)) == 1


def test_clearing_forgets_all_content_and_is_told():
    pool = BlockPool(2, 4)
    hashes = fill(pool, range(4))
    assert pool.clear()
    assert pool.match(hashes, 1) == []
    assert isinstance(pool.events[-1], Cleared)


def test_clearing_is_refused_while_a_block_is_in_use():
    pool = BlockPool(2, 4)
    pool.allocate(1)
    assert not pool.clear()
    assert pool.events == []
