"""The plain engine of replays, against cases computed by hand."""

import asyncio

import pytest

from turnwise.engines.base import ReplayUnavailable
from turnwise.engines.sim.fifo import BlockLru, FifoCore, FifoEngine, FifoOptions
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.events import BlocksRemoved, BlocksStored
from turnwise.proxy.replay.bodies import short_body
from turnwise.proxy.replay.trace import TraceCall


@pytest.fixture
def core():
    return FifoCore(FifoOptions(block_size=10, num_blocks=4, prefill_tokens_per_s=100.0))


def play(core, blocks, prompt_tokens, output_tokens=5, now=0.0):
    times = core.dispatch(blocks, prompt_tokens, output_tokens, now)
    core.store(blocks, "call")
    return times


def test_a_call_takes_its_uncached_tokens_then_a_fiftieth_of_a_second_for_each_token(core):
    times = core.dispatch([1, 2], 25, 5, 3.0)
    assert (times.cached_tokens, times.first_token_at, times.ended_at) == (0, 3.25, 3.35)


def test_calls_wait_for_each_other_in_order_of_arrival_but_only_for_prefill(core):
    play(core, [1, 2, 3], 30, output_tokens=1000)
    second = play(core, [4], 15, now=0.1)
    assert second.first_token_at == pytest.approx(0.3 + 0.15)
    idle = play(core, [], 5, now=9.0)
    assert idle.first_token_at == pytest.approx(9.05)


def test_blocks_are_found_as_soon_as_their_call_is_taken_in(core):
    play(core, [1, 2, 3], 35)
    same_moment = core.dispatch([1, 2, 3], 35, 1, 0.0)
    assert same_moment.cached_tokens == 30
    assert same_moment.first_token_at == pytest.approx(0.35 + 0.05)


def test_the_last_token_of_a_prompt_is_always_computed(core):
    play(core, [1, 2], 20)
    assert core.dispatch([1, 2], 20, 1, 0.0).cached_tokens == 10


def test_a_prefix_is_found_only_from_its_head(core):
    play(core, [1, 2, 3], 30)
    assert core.dispatch([9, 2, 3], 35, 1, 0.0).cached_tokens == 0
    assert core.dispatch([1, 9, 3], 35, 1, 0.0).cached_tokens == 10


def test_the_tail_of_the_sequence_used_longest_ago_goes_first():
    cache = BlockLru(4)
    assert cache.use([1, 2, 3]) == []
    assert cache.use([7]) == []
    assert cache.use([8, 9]) == [3, 2]
    assert cache.match([1, 2, 3]) == 1


def test_using_a_sequence_again_makes_all_of_it_recent():
    cache = BlockLru(4)
    cache.use([1, 2])
    cache.use([5, 6])
    cache.use([1, 2])
    assert cache.use([7]) == [6]
    assert cache.use([8]) == [5]


def test_events_tell_what_is_new_and_what_made_room_for_it(core):
    assert core.store([1, 2], "a") == [BlocksStored(hashes=(1, 2), parent=None, block_size=10, call_id="a", head_key=1)]
    assert core.store([1, 2], "b") == [], "nothing changed"
    assert core.store([1, 2, 3], "c") == [BlocksStored(hashes=(3,), parent=2, block_size=10, call_id="c")]
    removed, stored = core.store([6, 7], "d")
    assert removed == BlocksRemoved(hashes=(3,))
    assert stored == BlocksStored(hashes=(6, 7), parent=None, block_size=10, call_id="d", head_key=6)


def test_a_prompt_larger_than_the_cache_keeps_its_head(core):
    core.store([9], "before")
    removed, stored = core.store([1, 2, 3, 4, 5, 6], "a")
    assert removed.hashes == (9,)
    assert stored.hashes == (1, 2, 3, 4)
    assert core.cache.match([1, 2, 3, 4, 5, 6]) == 4


def call(blocks, prompt_tokens, output_tokens=3):
    return TraceCall(at_s=0.0, think_s=0.0, after=(), prompt_tokens=prompt_tokens, output_tokens=output_tokens, blocks=blocks)


def test_an_engine_answers_when_its_core_says_and_publishes_what_it_stored():
    async def main():
        engine = FifoEngine(FifoOptions(block_size=512, num_blocks=8, prefill_tokens_per_s=1000.0))
        async with engine, engine.event_source() as source:
            loop_time = asyncio.get_running_loop().time
            body = short_body(call([5, 6], 1500), "sim", 512)
            answer = await engine.handle("POST", "/v1/chat/completions", {"x-session-id": "stamp"}, body)
            seen = [(loop_time(), chunk) async for chunk in answer.body]
            return seen, await source.receive(), await engine.handle("POST", "/", {}, body)

    seen, batches, _again = run_virtual(main())
    assert [round(at, 6) for at, _chunk in seen] == [1.5, 1.56]
    assert b'"prompt_tokens":1500,"completion_tokens":3,' in seen[1][1]
    assert b'"cached_tokens":0' in seen[1][1]
    assert [(batch.sequence, [(event.hashes, event.call_id) for event in batch.events]) for batch in batches] == [
        (0, [((5, 6), "stamp")])
    ]


async def test_an_event_source_has_nothing_to_replay_and_says_so():
    engine = FifoEngine(FifoOptions(block_size=512, num_blocks=8, prefill_tokens_per_s=1000.0))
    async with engine.event_source() as source:
        assert await source.replay(0) == []
        with pytest.raises(ReplayUnavailable):
            await source.replay(3)


@pytest.mark.parametrize("body", [b"{}", b'{"messages":[{"content":"hello"}],"max_tokens":1}', b"not json"])
async def test_a_body_that_holds_no_blocks_is_refused(body):
    engine = FifoEngine(FifoOptions(block_size=512, num_blocks=8, prefill_tokens_per_s=1000.0))
    with pytest.raises(ValueError):
        await engine.handle("POST", "/v1/chat/completions", {}, body)
