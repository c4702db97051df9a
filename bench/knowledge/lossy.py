"""A feed that drops, delays and doubles batches, and whether the index holds in the end just what the engines hold."""

from __future__ import annotations

import asyncio

import msgspec
from bench.knowledge.world import (
    MODEL,
    PREDICTED_TTL_S,
    Body,
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
from turnwise.engines.vllm.wire import decode_batch
from turnwise.events import BlocksRemoved
from turnwise.proxy.memory import MemoryProxy

QUIET_S = 2 * PREDICTED_TTL_S
"""Until everything is settled: late batches are asked for, and predictions have expired."""


class LossyPlan(msgspec.Struct, frozen=True):
    """A fleet, its faults and its load. The caches are so small that eviction never stops."""

    seed: int = 0
    num_replicas: int = 2
    num_blocks: int = 80
    num_conversations: int = 12
    num_turns: int = 5
    drop: float = 0.1
    reorder: float = 0.1
    duplicate: float = 0.0
    nonsense: float = 0.0
    event_buffer: int = 10_000
    num_restarts: int = 0
    """How often an engine's process ends and comes back while calls are under way."""
    ends_heard: bool = True
    """Whether each engine is heard once more in the end: where all that it published is lost, only that can tell."""


class LossyFigures(msgspec.Struct, frozen=True):
    """What was published and what came of it; `num_missing` and `num_surplus` blocks are errors of the index."""

    num_calls: int
    num_batches: int
    num_removed: int
    """Blocks evicted in the batches that are kept."""
    num_blocks: int
    """Blocks held at the end."""
    num_missing: int
    num_surplus: int
    num_prompts: int
    """Taught prompts, each looked up on every replica."""
    num_wrong_depths: int
    feeds: tuple[str, ...]
    """State of each replica's feed at the end."""


def measure(plan: LossyPlan) -> LossyFigures:
    """Play the plan on a virtual clock, wait until it is quiet, and compare."""
    return run_virtual(_measure(plan))


async def _measure(plan: LossyPlan) -> LossyFigures:
    options = SimOptions(
        model=MODEL,
        seed=plan.seed,
        num_blocks=plan.num_blocks,
        drop_batches=plan.drop,
        reorder_batches=plan.reorder,
        duplicate_batches=plan.duplicate,
        nonsense_events=plan.nonsense,
        event_buffer=plan.event_buffer,
    )
    asked: list[Body] = []
    async with MemoryProxy(settings(plan.num_replicas), lambda number: make_engine(options, number)) as proxy:
        words = Words(plan.seed)
        systems = [words.system(80) for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            for number in range(plan.num_conversations):
                group.create_task(_converse(proxy, Words(words.rng.getrandbits(32)), systems[number % 2], plan, asked))
            group.create_task(_restart(proxy, words, plan.num_restarts))
        if plan.ends_heard:
            await _be_heard(proxy, words)
        await asyncio.sleep(QUIET_S)
        return _compare(proxy, asked)


async def _be_heard(proxy: MemoryProxy, words: Words) -> None:
    """Have each engine publish over a line that loses nothing."""
    for engine in engines(proxy).values():
        engine.log.line = None
        body = {"model": MODEL, "prompt": words.text(40, 60), "max_tokens": 1}
        await engine.handle("POST", "/v1/completions", {}, msgspec.json.encode(body))


async def _restart(proxy: MemoryProxy, words: Words, num_restarts: int) -> None:
    running = list(engines(proxy).values())
    for _ in range(num_restarts):
        await asyncio.sleep(words.rng.uniform(0.1, 0.5))
        await words.rng.choice(running).restart()


async def _converse(proxy: MemoryProxy, words: Words, system: Body, plan: LossyPlan, asked: list[Body]) -> None:
    messages = [system, {"role": "user", "content": words.text(30, 120)}]
    for turn in range(plan.num_turns):
        await asyncio.sleep(words.rng.uniform(0.0, 0.4))
        body = {"model": MODEL, "messages": list(messages), "max_tokens": 30}
        client = await proxy.call(body)
        while client.head is None or client.head.status != 200:  # two engines may restart under one call
            client = await proxy.call(body)
        asked.append(body)
        if turn + 1 < plan.num_turns:
            messages += words.reply_to(client.json()["choices"][0]["message"])


def _compare(proxy: MemoryProxy, asked: list[Body]) -> LossyFigures:
    now, stats = proxy.clock(), proxy.index.stats().replicas
    num_batches = num_blocks = num_missing = num_surplus = num_prompts = num_wrong_depths = num_removed = 0
    chains = [chain_of(body) for body in asked]
    for replica, engine in engines(proxy).items():
        truth = blocks_of(engine)
        found = num_confirmed(proxy, replica, truth)
        num_blocks += len(truth)
        num_missing += len(truth) - found
        if not stats[replica].is_stale:  # else what was confirmed is not believed
            num_surplus += stats[replica].num_blocks - found
        num_batches += engine.log.kept[-1].sequence + 1 if engine.log.kept else 0
        num_removed += sum(
            isinstance(event, BlocksRemoved)
            for published in engine.log.kept
            for event in decode_batch(published.payload, published.sequence).events
        )
        for body, chain in zip(asked, chains, strict=True):
            depth = confirmed_depth(proxy, replica, chain)
            if depth is None:
                continue
            num_prompts += 1
            num_wrong_depths += depth != num_held_of(engine, body, now)
    return LossyFigures(
        num_calls=len(asked),
        num_batches=num_batches,
        num_removed=num_removed,
        num_blocks=num_blocks,
        num_missing=num_missing,
        num_surplus=num_surplus,
        num_prompts=num_prompts,
        num_wrong_depths=num_wrong_depths,
        feeds=tuple(member.feed for member in proxy.fleet.members.values()),
    )
