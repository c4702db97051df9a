"""An engine that computes the last block of every hit anew, as for speculative decoding, through the whole pipeline."""

import asyncio

import pytest

from turnwise.proxy.states import State, replica_states

BLOCK = 16


async def converse(proxy, conversations, turns):
    """Turn after turn of some conversations, one after the other."""
    histories = [[{"role": "system", "content": f"you are agent {number}. " * 12}] for number in range(conversations)]
    for turn in range(turns):
        for number, history in enumerate(histories):
            history.append({"role": "user", "content": f"conversation {number}, turn {turn}: " + "words and more words. " * 8})
            client = await proxy.call({"model": "sim", "messages": history, "max_tokens": 40})
            assert client.head.status == 200
            history.append(client.json()["choices"][0]["message"])
            await asyncio.sleep(1.0)


def play(virtually, world, **options):
    """What the calls of the later turns were off by, in tokens, and the states of the replica in the end."""

    async def main():
        async with world(1, num_blocks=2000, **options) as proxy:
            await converse(proxy, 8, 6)
            lines = list(proxy.recorder.recent)[4 * 8 :]
            cache, answered = proxy.index.stats().replicas["r0"], proxy.metrics.calls.answered("r0")
            states = replica_states(proxy.fleet.members["r0"], cache, answered, 1e6)
            return [line["predicted"]["cached_tokens"] - line["usage"].cached_tokens for line in lines], cache, states

    return virtually(main())


@pytest.mark.parametrize("has_events", [True, False])
def test_a_hit_is_predicted_a_block_shorter_once_its_engine_was_seen_to_drop_one(virtually, world, has_events):
    errors, cache, states = play(virtually, world, has_events=has_events, drops_last_block=True)
    assert sorted(map(abs, errors))[: len(errors) * 3 // 4] == [0] * (len(errors) * 3 // 4)
    assert max(map(abs, errors)) <= BLOCK
    assert State.LAST_BLOCK_DROPPED in states
    assert State.DISTRUSTED_SOURCE not in states
    assert cache.complaint == ""


@pytest.mark.parametrize("has_events", [True, False])
def test_an_engine_that_drops_none_is_believed_to_the_last_block(virtually, world, has_events):
    errors, cache, states = play(virtually, world, has_events=has_events)
    assert errors.count(0) >= len(errors) * 3 // 4
    assert State.LAST_BLOCK_DROPPED not in states
    assert not cache.drops_last_block


def test_what_comes_back_from_dram_is_shortened_there(virtually, world):
    async def main():
        async with world(1, num_blocks=64, offload_blocks=4000, drops_last_block=True) as proxy:
            await converse(proxy, 8, 8)
            return list(proxy.recorder.recent)[40:], proxy.index.stats().replicas["r0"]

    lines, cache = virtually(main())
    brought_up = [line for line in lines if line["predicted"]["dram_tokens"]]
    assert brought_up
    for line in brought_up:
        assert 0 <= line["predicted"]["dram_tokens"] <= line["predicted"]["cached_tokens"]
    assert not cache.complaint
