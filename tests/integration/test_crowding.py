"""Agents that share a long head and do not fit into one cache together, through the whole pipeline on a virtual clock."""

import asyncio
from collections import Counter

from turnwise.settings import PolicySettings

AGENTS, TURNS = 6, 10
HEAD = "the tools of all agents, and how to use each of them. " * 400
OWN = "a file that one agent alone has read, line after line. " * 10


async def work(proxy):
    """Every agent's turns, at once."""

    async def agent(number):
        history = [{"role": "system", "content": HEAD}]
        for turn in range(TURNS):
            history.append({"role": "user", "content": f"agent {number}, turn {turn}: {OWN}"})
            client = await proxy.call({"model": "sim", "messages": history, "max_tokens": 8})
            assert client.head.status == 200
            history.append(client.json()["choices"][0]["message"])
            await asyncio.sleep(0.2)

    await asyncio.gather(*(agent(number) for number in range(AGENTS)))
    lines = list(proxy.recorder.recent)
    by_replica = Counter(line["replica"] for line in lines[-2 * AGENTS :])
    return by_replica, sum(line["usage"].prompt_tokens - line["usage"].cached_tokens for line in lines)


def played(virtually, world, num_blocks, **policy):
    async def main():
        async with world(3, num_blocks=num_blocks, policy=PolicySettings(**policy)) as proxy:
            return await work(proxy)

    return virtually(main())


def test_agents_that_evict_each_other_spread_to_replicas_with_room_and_compute_less(virtually, world):
    spread, computed = played(virtually, world, 600)
    stuck, computed_by_the_stuck = played(virtually, world, 600, turns_ahead=0.0)
    assert len(spread) > len(stuck)
    assert computed < 0.8 * computed_by_the_stuck
