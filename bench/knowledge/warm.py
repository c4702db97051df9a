"""A proxy that starts in front of warm engines, with no replay of what they stored before, and how soon it knows them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import msgspec
from bench.knowledge.world import (
    MODEL,
    Body,
    JsonMessage,
    Placed,
    Words,
    blocks_of,
    chain_of,
    confirmed_depth,
    engines,
    make_engine,
    num_confirmed,
    num_held_of,
    settings,
)

from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.memory import MemoryProxy
from turnwise.types import HitSource

THINK_S = 0.5
REPORT_MODE = b'"kv_cache_report_mode":"full"'


class WarmPlan(msgspec.Struct, frozen=True):
    """Conversations that one proxy begins and another goes on with, over the same engines."""

    seed: int = 0
    num_replicas: int = 2
    num_conversations: int = 12
    num_turns_before: int = 2
    num_turns_after: int = 4
    num_blocks: int = 20_000
    event_buffer: int = 0
    """Batches kept for replay: with 0 the second proxy hears only what is stored from its start on."""


class WarmTurn(msgspec.Struct, frozen=True):
    """One turn of every conversation behind the second proxy, in calls."""

    num_calls: int
    num_confirmed: int
    """Placed by the engines' word."""
    num_full_reports: int
    """Asked to tell all that was cached of their prompt."""
    num_known: int
    """Whose prompt was known, block by block, on the replica that served it, once its events had come."""


class WarmFigures(msgspec.Struct, frozen=True):
    """How the second proxy came to know."""

    turns: tuple[WarmTurn, ...]
    num_missing_heads: int
    """Chains whose head had been stored before it listened, as counted by its index."""
    num_surplus: int
    """Blocks that the index believes in and the engines do not hold."""


def measure(plan: WarmPlan) -> WarmFigures:
    """Play the plan on a virtual clock."""
    return run_virtual(_measure(plan))


async def _measure(plan: WarmPlan) -> WarmFigures:
    options = SimOptions(model=MODEL, seed=plan.seed, num_blocks=plan.num_blocks, event_buffer=plan.event_buffer)
    warm = [make_engine(options, number) for number in range(plan.num_replicas)]
    words = Words(plan.seed)
    system = words.system(150)
    histories: list[list[JsonMessage]] = [
        [system, {"role": "user", "content": words.text(100, 200)}] for _ in range(plan.num_conversations)
    ]
    async with AsyncExitStack() as stack:
        for running in warm:
            await stack.enter_async_context(running)
        async with MemoryProxy(settings(plan.num_replicas), warm.__getitem__) as first:
            for _ in range(plan.num_turns_before):
                await _turn(first, histories, words)
        async with MemoryProxy(settings(plan.num_replicas), warm.__getitem__) as second:
            turns = [await _turn(second, histories, words) for _ in range(plan.num_turns_after)]
            stats = second.index.stats()
            surplus = 0
            for replica, engine in engines(second).items():
                surplus += stats.replicas[replica].num_blocks - num_confirmed(second, replica, blocks_of(engine))
    return WarmFigures(turns=tuple(turns), num_missing_heads=stats.num_missing_heads, num_surplus=surplus)


async def _turn(proxy: MemoryProxy, histories: list[list[JsonMessage]], words: Words) -> WarmTurn:
    num_confirmed = num_full_reports = num_known = 0
    for history in histories:
        body: Body = {"model": MODEL, "messages": list(history), "max_tokens": 60}
        client = await proxy.call(body)
        assert client.head is not None
        assert client.head.status == 200, client.body
        await asyncio.sleep(THINK_S)
        placed = Placed.last(proxy)
        _origin, outgoing = proxy.upstream.requests[-1]
        num_confirmed += placed.source is HitSource.CONFIRMED
        num_full_reports += REPORT_MODE in outgoing.body.replace(b" ", b"")
        served_by = engines(proxy)[placed.replica]
        num_known += confirmed_depth(proxy, placed.replica, chain_of(body)) == num_held_of(served_by, body, proxy.clock())
        history.extend(words.reply_to(client.json()["choices"][0]["message"]))
    return WarmTurn(
        num_calls=len(histories), num_confirmed=num_confirmed, num_full_reports=num_full_reports, num_known=num_known
    )
