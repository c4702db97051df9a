"""Look-ups and events, timed: both sides take turns within every round, so that what else the machine does meets both."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Iterator
from random import Random
from statistics import median
from typing import Any

import msgspec
from bench.index.sides import Dynamo, Side, Turnwise
from bench.index.workloads import BLOCK_SIZE, EVENT_BLOCKS, SESSION_BLOCKS, Step, hashes, stored, workload

from turnwise.engines.vllm.wire import decode_batch

LOOKUP_ROUNDS = 40
CALLS_A_ROUND = 5
EVENT_ROUNDS = 7
EVENT_SESSIONS = 64
TOKEN_IDS = 150_000
"""Token ids are drawn below this: most take three or five bytes in msgpack, as in a vocabulary of today's models."""


class Timing(msgspec.Struct, frozen=True):
    """One figure: the median over rounds and the best of them."""

    median: float
    best: float


class Lookup(msgspec.Struct, frozen=True):
    """Microseconds of one look-up on the wall clock, by what is asked."""

    workload: str
    num_replicas: int
    num_pairs: int
    us: dict[str, Timing]


class Events(msgspec.Struct, frozen=True):
    """Nanoseconds of CPU a block, of all threads of the process, by side."""

    case: str
    ns_per_block: dict[str, Timing]


def time_lookup(name: str, num_replicas: int, seed: int) -> Lookup:
    """Fill both sides with one workload, check that they agree on every depth, and time them."""
    load = workload(name, num_replicas, seed)
    ours, dynamo = Turnwise(num_replicas), Dynamo()
    num_pairs = 0
    for step in load.steps():
        ours.apply([(step.replica, ours.prepare(step))])
        dynamo.apply([(step.replica, dynamo.prepare(step))])
        num_pairs += len(step.blocks)
    prompt = ours.teach(load.chain, load.depths.index(max(load.depths)))
    index, blocks, wanted = ours.domain.index, array("Q", load.chain), (1 << num_replicas) - 1
    stride = index.verify_stride
    chain, missing = list(load.chain), list(load.missing)

    def verified() -> dict[int, int]:
        index.verify_stride = stride
        return index.depths(blocks, len(blocks), wanted)

    def unverified() -> dict[int, int]:
        index.verify_stride = 0
        return index.depths(blocks, len(blocks), wanted)

    def facade() -> list[int]:
        index.verify_stride = stride
        hits = ours.residency(prompt).hits
        # A hit is never the whole prompt, since engines compute its last token.
        return [
            min(depth, len(chain) - 1) - hits[replica].tokens // BLOCK_SIZE
            for replica, depth in zip(ours.replicas, load.depths, strict=True)
        ]

    truth = dict(enumerate(load.depths))
    if not verified() == unverified() == dynamo.depths(chain) == truth or any(facade()):
        raise RuntimeError(f"the sides disagree on {name} over {num_replicas} replicas")
    asked: dict[str, Callable[[], object]] = {
        "verified": verified,
        "unverified": unverified,
        "facade": lambda: ours.residency(prompt),
        "dynamo": lambda: dynamo.find(chain),
        "dynamo_conversion": lambda: dynamo.find(missing),
    }
    return Lookup(workload=name, num_replicas=num_replicas, num_pairs=num_pairs, us=_in_turn(asked))


def time_events(seed: int) -> Iterator[Events]:
    """Events of every kind, on two replicas, each round into indexes that begin empty."""
    rng = Random(seed)
    sessions = [hashes(rng, SESSION_BLOCKS) for _ in range(EVENT_SESSIONS)]
    tail_first = [session[::-1] for session in sessions]
    chunks = [step for session in sessions for step in stored(0, session, EVENT_BLOCKS)]
    singles = [step for session in sessions for step in stored(0, session, 1)]
    again = [msgspec.structs.replace(step, replica=1) for step in chunks]
    gone = [(0, part) for session in tail_first for part in _parts(session, EVENT_BLOCKS)]
    gone_singles = [(0, part) for session in tail_first for part in _parts(session, 1)]
    num_blocks = EVENT_SESSIONS * SESSION_BLOCKS
    sides: dict[str, Callable[[], Side]] = {"turnwise": lambda: Turnwise(2), "dynamo": Dynamo}
    cases: dict[str, tuple[list[Step], Callable[[Any], list[tuple[int, Any]]]]] = {
        "stored, 128 blocks an event": ([], lambda side: _stores(side, chunks)),
        "stored, 128 blocks an event, another replica holds them": (chunks, lambda side: _stores(side, again)),
        "stored, 1 block an event": ([], lambda side: _stores(side, singles)),
        "removed, 128 blocks an event, tail first": (chunks, lambda side: _removals(side, gone)),
        "removed, 1 block an event, tail first": (chunks, lambda side: _removals(side, gone_singles)),
    }
    for case, (before, prepare) in cases.items():
        prepared = {name: prepare(make()) for name, make in sides.items()}
        spent: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(EVENT_ROUNDS):
            for name, make in sides.items():
                side = make()
                side.apply(_stores(side, before))
                spent[name].append(_cpu_ns(lambda: side.apply(prepared[name])) / num_blocks)  # noqa: B023 - called at once
        yield Events(case=case, ns_per_block={name: _summary(values) for name, values in spent.items()})
    wire = [_engine_bytes(step, rng) for step in chunks]
    values = []
    for _ in range(EVENT_ROUNDS):
        ours = Turnwise(2)
        values.append(_cpu_ns(lambda: ours.apply((0, decode_batch(raw, 0)) for raw in wire)) / num_blocks)  # noqa: B023 - at once
    yield Events(case="stored, 128 blocks an event, from the engine's bytes", ns_per_block={"turnwise": _summary(values)})


def _stores(side: Any, steps: list[Step]) -> list[tuple[int, Any]]:
    return [(step.replica, side.prepare(step)) for step in steps]


def _removals(side: Any, gone: list[tuple[int, tuple[int, ...]]]) -> list[tuple[int, Any]]:
    return [(replica, side.prepare_removal(blocks)) for replica, blocks in gone]


def _parts(blocks: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(blocks), size):
        yield blocks[start : start + size]


def _engine_bytes(step: Step, rng: Random) -> bytes:
    event = {
        "type": "BlockStored",
        "block_hashes": step.blocks,
        "parent_block_hash": step.parent,
        "token_ids": [rng.randrange(TOKEN_IDS) for _ in range(len(step.blocks) * BLOCK_SIZE)],
        "block_size": BLOCK_SIZE,
        "medium": "GPU",
    }
    return msgspec.msgpack.encode([0.0, [event], 0])


def _in_turn(asked: dict[str, Callable[[], object]]) -> dict[str, Timing]:
    spent: dict[str, list[float]] = {name: [] for name in asked}
    gc.collect()
    gc.disable()
    try:
        for _ in range(LOOKUP_ROUNDS):
            for name, ask in asked.items():
                ask()  # the first one after another's turn finds cold caches, on both sides alike
                start = time.perf_counter()
                for _ in range(CALLS_A_ROUND):
                    ask()
                spent[name].append((time.perf_counter() - start) / CALLS_A_ROUND * 1e6)
    finally:
        gc.enable()
    return {name: _summary(values) for name, values in spent.items()}


def _cpu_ns(do: Callable[[], None]) -> float:
    gc.collect()
    start = time.process_time_ns()
    do()
    return time.process_time_ns() - start


def _summary(values: list[float]) -> Timing:
    return Timing(median=median(values), best=min(values))
