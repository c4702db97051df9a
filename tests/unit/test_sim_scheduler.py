import random
from array import array

import pytest

from turnwise.engines.sim.blocks import BlockOwner, Stored
from turnwise.engines.sim.cost import PRESETS, CostModel, Preset
from turnwise.engines.sim.scheduler import Phase, Scheduler, Sequence
from turnwise.engines.sim.script import Piece, Script

COST = CostModel(
    step_s=1.0, prefill_token_s=0.1, attended_pair_s=0.0, decode_sequence_s=0.01, decode_context_s=0.0, load_token_s=0.05
)


def make_scheduler(*, num_blocks=64, max_batch_tokens=1000, max_num_seqs=8):
    return Scheduler(Preset(COST, 4, num_blocks, max_batch_tokens, max_num_seqs, num_blocks * 4))


def make_sequence(tokens, *, order=0, priority=0, length=4, session=None):
    script = Script(tuple(Piece(1000 + index, "x") for index in range(length)), "length")
    return Sequence(array("I", tokens), script, BlockOwner("m", session_id=session), (priority, order))


def drive(scheduler, limit=1000):
    """Run until nothing is left; gives the sequences in the order in which they ended."""
    ended = []
    for _ in range(limit):
        if not scheduler.has_work:
            return ended
        ended += [emission.sequence for emission in scheduler.complete(scheduler.plan()) if emission.is_last]
    raise AssertionError("the scheduler does not come to an end")


def test_a_prompt_is_computed_in_chunks_of_the_token_budget():
    scheduler = make_scheduler(max_batch_tokens=8)
    scheduler.add(make_sequence(range(20)))
    sizes = []
    for _ in range(3):
        plan = scheduler.plan()
        sizes.append([item.num_tokens for item in plan.work])
        emitted = scheduler.complete(plan)
    assert sizes == [[8], [8], [4]]
    assert len(emitted) == 1


def test_decodes_and_a_prefill_share_a_step():
    scheduler = make_scheduler(max_batch_tokens=8)
    scheduler.add(make_sequence(range(4), order=0))
    scheduler.complete(scheduler.plan())
    scheduler.add(make_sequence(range(100, 120), order=1))
    assert [item.num_tokens for item in scheduler.plan().work] == [1, 7]


def test_no_more_sequences_run_than_allowed():
    scheduler = make_scheduler(max_num_seqs=2)
    for order in range(5):
        scheduler.add(make_sequence([order] * 4, order=order))
    scheduler.plan()
    assert (len(scheduler.running), scheduler.num_waiting) == (2, 3)


def test_a_lower_priority_number_goes_first_and_then_the_earlier():
    scheduler = make_scheduler(max_num_seqs=1)
    late, early, urgent = (
        make_sequence([1] * 4, order=1),
        make_sequence([2] * 4, order=0),
        make_sequence([3] * 4, order=2, priority=-5),
    )
    for sequence in (late, early, urgent):
        scheduler.add(sequence)
    assert drive(scheduler) == [urgent, early, late]


@pytest.mark.parametrize("length", [11, 12, 13])
def test_a_repeated_prompt_is_cached_but_for_its_last_token(length):
    scheduler = make_scheduler()
    scheduler.add(make_sequence(range(length)))
    drive(scheduler)
    again = make_sequence(range(length))
    scheduler.add(again)
    drive(scheduler)
    assert again.num_cached == (length - 1) // 4 * 4


def test_two_equal_prompts_of_one_step_share_their_blocks():
    scheduler = make_scheduler()
    first, second = make_sequence(range(12), order=0), make_sequence(range(12), order=1)
    scheduler.add(first)
    scheduler.add(second)
    scheduler.plan()
    assert second.num_cached == 8
    assert second.blocks[:2] == first.blocks[:2]


def test_blocks_filled_while_decoding_continue_the_chain():
    scheduler = make_scheduler()
    scheduler.add(make_sequence(range(6), length=8))
    drive(scheduler)
    stored = [event for event in scheduler.pool.events if isinstance(event, Stored)]
    assert [len(event.hashes) for event in stored] == [1, 1, 1]
    assert [event.parent for event in stored[1:]] == [event.hashes[0] for event in stored[:-1]]
    assert stored[1].tokens.tolist() == [4, 5, 1000, 1001]


def test_when_blocks_run_out_the_last_in_rank_is_preempted_and_still_ends():
    scheduler = make_scheduler(num_blocks=6)
    first, second = make_sequence([1] * 8, order=0, length=12), make_sequence([2] * 8, order=1, length=12)
    scheduler.add(first)
    scheduler.add(second)
    assert drive(scheduler) == [first, second]
    assert scheduler.num_preemptions >= 1
    assert second.tokens[8:].tolist() == [1000 + index for index in range(12)]


def test_a_preempted_sequence_reports_the_cached_tokens_of_its_first_admission():
    scheduler = make_scheduler(num_blocks=6)
    scheduler.add(make_sequence([1] * 8, order=0, length=12))
    second = make_sequence([2] * 8, order=1, length=12)
    scheduler.add(second)
    drive(scheduler)
    assert second.num_cached == 0


def test_all_blocks_are_free_once_nothing_runs():
    scheduler = make_scheduler(num_blocks=16)
    for order in range(6):
        scheduler.add(make_sequence([order] * 10, order=order, length=9))
    drive(scheduler)
    assert scheduler.pool.num_free == 16


def test_a_waiting_sequence_that_is_aborted_never_runs():
    scheduler = make_scheduler(max_num_seqs=1)
    kept, dropped = make_sequence([1] * 4, order=0), make_sequence([2] * 4, order=1)
    scheduler.add(kept)
    scheduler.add(dropped)
    scheduler.plan()
    scheduler.abort(dropped)
    assert dropped.phase is Phase.DONE
    assert scheduler.num_waiting == 0


def test_a_running_sequence_that_is_aborted_frees_its_blocks_at_the_end_of_the_step():
    scheduler = make_scheduler(num_blocks=16)
    sequence = make_sequence(range(12))
    scheduler.add(sequence)
    plan = scheduler.plan()
    scheduler.abort(sequence)
    assert scheduler.complete(plan) == []
    assert (scheduler.pool.num_free, scheduler.running) == (16, [])


def test_reused_blocks_are_told_again_where_that_was_asked():
    scheduler = make_scheduler()
    scheduler.add(make_sequence(range(12)))
    drive(scheduler)
    scheduler.pool.events.clear()
    again = make_sequence(range(12), session="s")
    again.reports_reused = True
    scheduler.add(again)
    scheduler.plan()
    told = [(event.parent, len(event.hashes), event.owner.session_id) for event in scheduler.take_events()]
    head = again.hashes[1]
    assert told == [(None, 2, "s"), (head, 1, "s")]


def test_a_step_costs_its_parts():
    scheduler = make_scheduler()
    scheduler.add(make_sequence(range(10)))
    plan = scheduler.plan()
    assert plan.seconds == pytest.approx(1.0 + 10 * 0.1)
    scheduler.complete(plan)
    assert scheduler.plan().seconds == pytest.approx(1.0 + 0.01)


def test_a_long_prompt_costs_as_much_in_chunks_as_at_once():
    cost = PRESETS["h100-8b"].cost
    whole = cost.prefill_s(8000, 0)
    assert sum(cost.prefill_s(1000, start) for start in range(0, 8000, 1000)) == pytest.approx(whole)
    assert cost.prefill_s(16000, 0) > 2 * whole


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_every_sequence_ends_and_no_block_is_lost_or_shared_wrongly(seed):
    rng = random.Random(seed)
    scheduler = make_scheduler(
        num_blocks=rng.randint(12, 40), max_batch_tokens=rng.randint(3, 40), max_num_seqs=rng.randint(1, 6)
    )
    alive, ended, aborted = [], set(), set()
    for order in range(60):
        prompt = [rng.randint(0, 1)] * rng.randint(1, 12) + [rng.randint(0, 3) for _ in range(rng.randint(0, 12))]
        alive.append(make_sequence(prompt, order=order, priority=rng.randint(-1, 1), length=rng.randint(1, 20)))
        scheduler.add(alive[-1])
        for _ in range(rng.randint(0, 6)):
            plan = scheduler.plan()
            assert sum(item.num_tokens for item in plan.work) <= scheduler.preset.max_batch_tokens
            assert len(scheduler.running) <= scheduler.preset.max_num_seqs
            used = {block for sequence in scheduler.running for block in sequence.blocks}
            assert len(used) + scheduler.pool.num_free == scheduler.pool.num_blocks
            if rng.random() < 0.05:
                victim = rng.choice(alive)
                scheduler.abort(victim)
                aborted.add(victim)
            ended |= {emission.sequence for emission in scheduler.complete(plan) if emission.is_last}
    ended |= set(drive(scheduler, limit=5000))
    assert ended | aborted == set(alive)
    assert all(sequence.num_emitted == len(sequence.script.pieces) for sequence in ended)
    assert all(sequence.num_cached % 4 == 0 and sequence.num_cached < sequence.num_prompt for sequence in ended)
    assert scheduler.pool.num_free == scheduler.pool.num_blocks
