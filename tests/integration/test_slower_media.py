"""A replica that keeps in DRAM what its GPU evicts, through the whole pipeline on a virtual clock."""

import asyncio
import random

import pytest

from turnwise.engines.sim.tokens import pseudo_sentence
from turnwise.proxy.export.prometheus import Gauges
from turnwise.settings import PolicySettings

BLOCK = 16


async def converse(proxy, conversations):
    """Turn after turn of some conversations, one after the other; returns the lines of all calls but the first turns."""
    histories = [[{"role": "system", "content": f"you are agent {number}. " * 12}] for number in range(conversations)]
    for turn in range(4):
        for number, history in enumerate(histories):
            await asyncio.sleep(10.0)  # the agent's tool runs, and nothing that was only predicted counts any more
            history.append({"role": "user", "content": f"conversation {number}, turn {turn}: " + "words and more words. " * 8})
            client = await proxy.call({"model": "sim", "messages": history, "max_tokens": 8})
            assert client.head.status == 200
            history.append(client.json()["choices"][0]["message"])
    return list(proxy.recorder.recent)[conversations:]


def test_what_comes_back_from_dram_is_predicted_and_costs_its_transfer(virtually, world):
    async def main():
        async with world(1, num_blocks=64, offload_blocks=4000) as proxy:
            return await converse(proxy, 8), proxy.index.stats()

    lines, stats = virtually(main())
    errors = [abs(line["predicted"]["cached_tokens"] - line["usage"].cached_tokens) for line in lines]
    assert max(errors) <= BLOCK
    assert min(line["usage"].cached_tokens for line in lines) > 4 * BLOCK
    brought_up = [line for line in lines if line["predicted"]["dram_tokens"]]
    assert len(brought_up) > len(lines) // 2
    # The first of all second turns reaches through an answer before any was seen to join its chain.
    assert [line["predicted"]["source"] for line in brought_up].count("predicted") <= 1
    for line in brought_up:
        assert line["predicted"]["dram_tokens"] <= line["predicted"]["cached_tokens"]
        assert line["cost_s"]["transfer"] > 0
    assert stats.replicas["r0"].num_dram_blocks > stats.replicas["r0"].num_blocks


async def talk(proxy, rng, turns):
    """One agent, with pauses in which the caches of its engines turn over."""
    history = [{"role": "system", "content": pseudo_sentence(rng, rng.randint(900, 2400))}]
    for _ in range(turns):
        history.append({"role": "user", "content": pseudo_sentence(rng, rng.randint(20, 300))})
        client = await proxy.call({"model": "sim", "messages": history, "max_tokens": 8, "stream": True})
        assert client.head.status == 200
        history.append({"role": "assistant", "content": pseudo_sentence(rng, 20)})
        await asyncio.sleep(rng.uniform(5.0, 20.0))


def samples_of(proxy):
    gauges = Gauges(proxy.fleet, proxy.index, proxy.metrics.calls, clock=lambda: 0.0, num_connections=lambda: 0)
    return {(sample.name, *sample.labels.values()): sample.value for family in gauges.collect() for sample in family.samples}


@pytest.mark.parametrize("tokens_per_s", [15_000.0, 60_000.0])
def test_how_fast_blocks_come_up_is_learned_and_enters_the_cost(virtually, world, tokens_per_s):
    async def main():
        options = {"preset": "h100-8b", "num_blocks": 3500, "offload_blocks": 40_000}
        async with world(1, offload_tokens_per_s=tokens_per_s, **options) as proxy:
            async with asyncio.TaskGroup() as group:
                for number in range(30):
                    group.create_task(talk(proxy, random.Random(number), 6))
            return proxy.fleet.members["r0"], samples_of(proxy), proxy.recorder.recent[-1]

    member, samples, line = virtually(main())
    learned = member.loading.speeds.dram_tokens_per_s
    assert learned == pytest.approx(tokens_per_s, rel=0.15)
    assert member.loading.stats["dram"].num_calls > 5
    assert samples["turnwise_transfer_tokens_per_second", "r0", "dram"] == learned
    assert samples["turnwise_transfer_tokens_per_second", "r0", "disk"] == PolicySettings().disk_tokens_per_s
    assert line["cost_s"]["transfer"] == pytest.approx(line["predicted"]["dram_tokens"] / learned, rel=0.2)


def without_events(virtually, world, **options):
    """The speed learned of DRAM, what the index says, and the later calls, of 40 agents of a replica that publishes nothing."""

    async def main():
        async with world(1, has_events=False, preset="h100-8b", num_blocks=3500, **options) as proxy:
            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(talk(proxy, random.Random(number), 16))
            member, stats = proxy.fleet.members["r0"], proxy.index.stats().replicas["r0"]
            return member.loading.speeds.dram_tokens_per_s, stats, list(proxy.recorder.recent)

    return virtually(main())


def test_a_tier_that_no_event_tells_of_shows_in_the_cost_once_reports_have_shown_it(virtually, world):
    learned, stats, lines = without_events(virtually, world, offload_blocks=3500, offload_tokens_per_s=20_000.0)
    assert stats.offload_tokens > 3500 * BLOCK // 4
    brought_up = [line for line in lines if line["predicted"]["dram_tokens"]]
    assert brought_up
    assert all(line["cost_s"]["transfer"] > 0 for line in brought_up)
    assert learned == pytest.approx(20_000, rel=0.15)


def test_where_there_is_no_tier_none_is_taken_to_be(virtually, world):
    learned, stats, lines = without_events(virtually, world)
    assert stats.offload_tokens < 3500 * BLOCK // 8
    assert not any(line["predicted"]["dram_tokens"] for line in lines)
    assert learned == PolicySettings().dram_tokens_per_s
