"""What the proxy makes of an engine in memory that restarts, or hides what it is."""

import asyncio

from turnwise.proxy.wire.ports import Origin

SYSTEM = "You are a careful agent that finds bugs in code. " * 20
PATIENCE_S = 30.0


def body(text="find the bug", **fields):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    return {"model": "sim", "messages": messages, "max_tokens": 20, **fields}


def engine(proxy, number=0):
    return proxy.upstream.engines[Origin.of(f"http://sim:{9000 + number}")]


def test_a_restart_reaches_the_client_of_a_stream_as_a_broken_one(world, virtually):
    async def scenario():
        async with world(1) as proxy:
            calling = asyncio.create_task(proxy.call(body(stream=True, max_tokens=2000, ignore_eos=True)))
            await asyncio.sleep(0.5)
            await engine(proxy).restart()
            broken = await asyncio.wait_for(calling, PATIENCE_S)
            after = await asyncio.wait_for(proxy.call(body()), PATIENCE_S)
        return broken, after

    broken, after = virtually(scenario())
    assert not broken.is_finished or b"error" in broken.body
    assert after.head.status == 200


def test_a_call_that_a_restart_cuts_off_before_its_answer_is_tried_elsewhere(world, virtually):
    async def scenario():
        async with world(2) as proxy:
            calling = asyncio.create_task(proxy.call(body(max_tokens=2000, ignore_eos=True)))
            await asyncio.sleep(0.5)
            busy = next(number for number in (0, 1) if engine(proxy, number).core.scheduler.has_work)
            await engine(proxy, busy).restart()
            return await asyncio.wait_for(calling, PATIENCE_S)

    assert virtually(scenario()).head.status == 200


def test_the_feed_of_a_restarted_engine_starts_anew(world, virtually):
    async def scenario():
        async with world(1) as proxy:
            await proxy.call(body())
            before = proxy.index.stats().replicas
            await engine(proxy).restart()
            await asyncio.sleep(5)
            after = proxy.index.stats().replicas
            return [next(iter(stats.values())).num_blocks for stats in (before, after)]

    before, after = virtually(scenario())
    assert before > 0
    assert after == 0


def test_the_size_of_a_hidden_cache_is_unknown_to_the_fleet(world, virtually):
    async def scenario(**options):
        async with world(1, **options) as proxy:
            (member,) = proxy.fleet.members.values()
            return member.facts.load.num_blocks, member.facts.load.block_size

    assert virtually(scenario(hides_capacity=True)) == (None, 16)
    assert virtually(scenario())[0] is not None
