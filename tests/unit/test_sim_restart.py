import asyncio
import json
from contextlib import aclosing

import pytest
from tests.unit.sim_engine import LONG, on_engine

from turnwise.engines.base import FeedLost
from turnwise.engines.sim.core import EngineStopped
from turnwise.engines.vllm.metrics import read_load
from turnwise.events import BlocksCleared, BlocksRemoved, BlocksStored


async def ask(engine, content=LONG, **fields):
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "ignore_eos": True, **fields}
    answer = await engine.handle("POST", "/v1/chat/completions", {}, json.dumps(body).encode())
    return json.loads(answer.body)


async def cached(engine, content=LONG):
    return (await ask(engine, content))["usage"]["prompt_tokens_details"]["cached_tokens"]


async def reset(engine, query=""):
    return json.loads((await engine.handle("POST", f"/reset_prefix_cache{query}", {}, b"")).body)


def test_a_restarted_engine_has_an_empty_cache_and_sequences_from_0():
    async def scenario(engine):
        async with engine.event_source() as old:
            first, warm = await ask(engine), await cached(engine)
            await engine.restart()
            heard = await old.receive()
            with pytest.raises(FeedLost):
                await old.receive()
        async with engine.event_source() as new:
            again = await ask(engine)
            batches = await new.receive()
        return heard, warm, batches, first["id"] != again["id"], again["usage"]["prompt_tokens_details"]["cached_tokens"]

    heard, warm, batches, has_new_id, cold = on_engine(scenario)
    assert warm > 0
    assert (cold, has_new_id) == (0, True)
    assert heard[0].sequence == 0
    assert batches[0].sequence == 0


def test_a_restart_breaks_off_the_calls_under_way():
    async def scenario(engine):
        whole = asyncio.create_task(ask(engine, max_tokens=4000))
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 4000, "ignore_eos": True}
        answer = await engine.handle("POST", "/v1/chat/completions", {}, json.dumps(body).encode())
        async with aclosing(answer.body) as chunks:
            await anext(chunks)
            await engine.restart()
            with pytest.raises(EngineStopped):
                async for _chunk in chunks:
                    pass
        with pytest.raises(EngineStopped):
            await whole
        return engine.core.scheduler.has_work

    assert on_engine(scenario) is False


def test_a_restart_shows_in_the_time_of_start():
    async def scenario(engine):
        await asyncio.sleep(5)
        before = read_load((await engine.handle("GET", "/metrics", {}, b"")).body)
        await engine.restart()
        return before.started_at, read_load((await engine.handle("GET", "/metrics", {}, b"")).body).started_at

    assert on_engine(scenario, wall_epoch_s=1000.0) == (1000.0, 1005.0)


def test_a_silent_restart_loses_the_cache_and_says_nothing():
    async def scenario(engine):
        async with engine.event_source() as source:
            await ask(engine)
            await source.receive()
            engine.restart_silently()
            cold = await cached(engine)
            batches = await source.receive()
        return cold, [batch.sequence for batch in batches], [event for batch in batches for event in batch.events]

    cold, sequences, events = on_engine(scenario)
    assert cold == 0
    assert sequences[0] > 0
    assert all(isinstance(event, BlocksStored) for event in events)


def test_calls_under_way_outlive_a_silent_restart():
    async def scenario(engine):
        running = asyncio.create_task(ask(engine, max_tokens=200))
        await asyncio.sleep(0.05)
        engine.restart_silently()
        answer = await running
        await asyncio.gather(*(ask(engine, f"{index} {LONG}") for index in range(20)))
        return answer["usage"]["completion_tokens"], engine.core.scheduler.pool.num_free

    assert on_engine(scenario, num_blocks=200) == (200, 200)


def test_a_reset_says_whether_it_was_done():
    async def scenario(engine):
        await ask(engine)
        running = asyncio.create_task(ask(engine, max_tokens=200))
        await asyncio.sleep(0.05)
        refused = await reset(engine)
        await running
        return refused, await reset(engine), await cached(engine)

    assert on_engine(scenario) == ({"success": False}, {"success": True}, 0)


@pytest.mark.parametrize(("query", "is_cold"), [("", False), ("?reset_external=false", False), ("?reset_external=true", True)])
def test_the_tier_is_reset_where_that_is_asked_for(query, is_cold):
    async def scenario(engine):
        await ask(engine)
        for word in ("other", "more"):  # push the first prompt out of the pool
            await ask(engine, f"{word} words entirely " * 200)
        await reset(engine, query)
        return await cached(engine)

    assert (on_engine(scenario, num_blocks=64, offload_blocks=500) == 0) is is_cold


def test_hidden_capacity_is_told_nowhere():
    async def scenario(engine):
        return (await engine.handle("GET", "/metrics", {}, b"")).body

    hidden, told = on_engine(scenario, hides_capacity=True, num_blocks=4321), on_engine(scenario, num_blocks=4321)
    assert (read_load(hidden).num_blocks, read_load(hidden).block_size) == (None, 16)
    assert read_load(told).num_blocks == 4321
    assert b"4321" not in hidden
    assert str(4321 * 16).encode() not in hidden


def test_two_copies_of_a_block_are_stored_and_removed_by_two_events():
    async def scenario(engine):
        async with engine.event_source() as source:
            prompt = list(range(64))
            for _ in range(2):
                body = {"prompt": prompt, "max_tokens": 1, "ignore_eos": True}
                await engine.handle("POST", "/v1/completions", {}, json.dumps(body).encode())
            events = [event for batch in await source.receive() for event in batch.events]
            last = next(event.hashes[-1] for event in events if isinstance(event, BlocksStored))
            body["prompt"] = list(range(1000, 1000 + 16 * 15))
            await engine.handle("POST", "/v1/completions", {}, json.dumps(body).encode())
            events += [event for batch in await source.receive() for event in batch.events]
        assert not any(isinstance(event, BlocksCleared) for event in events)
        return [
            sum(last in event.hashes for event in events if isinstance(event, kind)) for kind in (BlocksStored, BlocksRemoved)
        ]

    assert on_engine(scenario, num_blocks=16) == [2, 2]
