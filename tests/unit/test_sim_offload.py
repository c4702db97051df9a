from array import array

import msgspec
import pytest

from turnwise.engines.sim.blocks import BlockOwner, BlockPool, Cleared, CpuTier, Offloaded, Removed, Stored, extend_hashes
from turnwise.engines.sim.cost import PRESETS, CostModel, Preset
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.publisher import encode_event
from turnwise.engines.sim.scheduler import Scheduler, Sequence
from turnwise.engines.sim.script import Piece, Script
from turnwise.engines.vllm.wire import decode_batch
from turnwise.events import BlocksRemoved, BlocksStored

OWNER = BlockOwner("m", session_id="s")
COST = CostModel(
    step_s=1.0, prefill_token_s=0.1, attended_pair_s=0.0, decode_sequence_s=0.01, decode_context_s=0.0, load_token_s=0.001
)


def make_scheduler(num_blocks=8, offload_blocks=16):
    return Scheduler(Preset(COST, 4, num_blocks, 64, 4, num_blocks * 4, offload_blocks))


def run(scheduler, tokens, *, is_full=False):
    """One call of one generated token, run to its end: itself, its first step, and all events."""
    script = Script((Piece(7),), "length")
    sequence = Sequence(array("I", tokens), script, OWNER, (0, 0))
    sequence.reports_reused = is_full
    scheduler.add(sequence)
    first = plan = scheduler.plan()
    while scheduler.has_work:
        scheduler.complete(plan)
        plan = scheduler.plan()
    return sequence, first, scheduler.take_events()


def test_what_the_pool_evicts_goes_to_the_tier():
    tier = CpuTier(8)
    pool = BlockPool(2, 4, tier)
    hashes = []
    extend_hashes(hashes, array("I", range(8)), 4, OWNER.root)
    blocks = pool.allocate(2)
    pool.store(blocks, Stored(tuple(hashes), None, 0, array("I", range(8)), OWNER))
    pool.release(blocks)
    pool.allocate(1)
    assert pool.events[-1] == Removed(hashes[1])
    assert tier.events == [Offloaded(hashes[1])]
    assert tier.hashes == {hashes[1]}


def test_a_full_tier_evicts_what_was_used_longest_ago():
    tier = CpuTier(2)
    tier.put(1)
    tier.put(2)
    assert tier.match([1, 9], 0, 2) == 1
    tier.put(3)
    assert tier.events == [Offloaded(1), Offloaded(2), Removed(2, is_offloaded=True), Offloaded(3)]


def test_a_block_that_the_tier_has_is_not_copied_again():
    tier = CpuTier(2)
    tier.put(1)
    tier.put(1)
    assert tier.events == [Offloaded(1)]


def test_a_hit_in_the_tier_is_cached_and_costs_its_transfer():
    scheduler = make_scheduler()
    run(scheduler, range(20))
    run(scheduler, range(100, 132))  # evicts all of it
    again, plan, events = run(scheduler, range(20))
    assert again.num_cached == 16
    assert plan.work[0].num_loaded == 16
    assert plan.seconds == pytest.approx(1.0 + 4 * 0.1 + 16 * 0.001)
    stored = [event for event in events if isinstance(event, Stored)]
    assert [(event.parent, len(event.hashes)) for event in stored] == [(None, 4), (again.hashes[3], 1)]
    assert {event.owner.session_id for event in stored} == {"s"}
    assert scheduler.num_hit_tokens == 0


def test_a_prompt_may_be_found_in_both_tiers():
    scheduler = make_scheduler(num_blocks=8)
    run(scheduler, range(20))
    run(scheduler, range(100, 120))  # evicts its tail only
    again, plan, events = run(scheduler, range(20), is_full=True)
    on_gpu = scheduler.num_hit_tokens // 4
    assert 0 < on_gpu < 4
    assert again.num_cached == 16
    assert plan.work[0].num_loaded == 16 - 4 * on_gpu
    assert events[0].hashes == tuple(again.hashes[:on_gpu])  # the full report comes before all that the call stores


def test_events_of_the_tier_follow_those_of_the_pool():
    scheduler = make_scheduler()
    run(scheduler, range(20))
    _call, _plan, events = run(scheduler, range(100, 132))
    kinds = ["tier" if isinstance(event, Offloaded) else "pool" for event in events]
    assert kinds == sorted(kinds)
    assert kinds.count("tier") == sum(isinstance(event, Removed) for event in events) > 0


def test_without_a_tier_nothing_is_offloaded():
    scheduler = make_scheduler(offload_blocks=0)
    run(scheduler, range(20))
    run(scheduler, range(100, 132))
    again, _plan, events = run(scheduler, range(20))
    assert again.num_cached == 0
    assert not any(isinstance(event, Offloaded) for event in events)


def test_the_tier_is_told_of_as_vllm_tells_of_it():
    encoded = [encode_event(event, 16, {}) for event in (Offloaded(5), Removed(6, is_offloaded=True))]
    payload = msgspec.msgpack.encode([0.0, encoded, 0])
    assert encoded[1] == {
        "type": "BlockRemoved",
        "block_hashes": [6],
        "medium": "CPU",
        "group_idx": 0,
        "locality": "LOCAL",
    }
    assert (encoded[0]["token_ids"], encoded[0]["parent_block_hash"], encoded[0]["locality"]) == ([], None, "LOCAL")
    stored, removed = decode_batch(payload, 0).events
    assert isinstance(stored, BlocksStored)
    assert isinstance(removed, BlocksRemoved)
    assert (stored.medium, stored.hashes, removed.medium, removed.hashes) == ("CPU", (5,), "CPU", (6,))


def test_clearing_the_tier_is_told():
    tier = CpuTier(2)
    tier.put(1)
    tier.clear()
    assert tier.events[-1] == Cleared()
    assert not tier.hashes


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_token_comes_back_sooner_than_it_is_computed(name):
    cost = PRESETS[name].cost
    assert 0 < cost.load_token_s < cost.prefill_token_s / 5


def test_the_speed_of_the_link_is_an_option():
    assert SimOptions(offload_tokens_per_s=1000.0).resolve().cost.load_token_s == 0.001
