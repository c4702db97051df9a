"""The figures as a paper: bars that must hold, and tables for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from bench.index.memory import Memory
from bench.index.timing import Events, Lookup, Timing
from bench.papers import renew

BEGIN, END = "<!-- bench-index:begin -->\n", "<!-- bench-index:end -->\n"

STICKY_TIMES = 10.0
SPREAD_TIMES = 1.0
MEMORY_RATIO = 1.5
BAR_REPLICAS = 256


class Origin(msgspec.Struct, frozen=True):
    """What was measured where."""

    commit: str
    machine: str
    python: str
    dynamo: str
    core: int
    seed: int
    load_average: float
    """Of one minute, when the run began."""


class Result(msgspec.Struct, frozen=True):
    """One run of `make bench-index`."""

    origin: Origin
    lookups: list[Lookup]
    events: list[Events]
    memory: list[Memory]


class Bar(msgspec.Struct, frozen=True):
    """A bound, what was measured, and whether it holds."""

    name: str
    bound: str
    measured: str
    holds: bool


def bars(result: Result) -> list[Bar]:
    """What must hold, by best rounds: a busy machine delays Dynamo's thread more than us, and no bar profits from that."""
    times = {
        lookup.workload: lookup.us["dynamo"].best / lookup.us["verified"].best
        for lookup in result.lookups
        if lookup.num_replicas == BAR_REPLICAS
    }
    worst = max(case.bytes_per_block["turnwise"] / case.bytes_per_block["dynamo"] for case in result.memory)
    return [
        _at_least(f"look-up over {BAR_REPLICAS} replicas, sticky, winner verified", times["sticky"], STICKY_TIMES),
        _at_least(f"look-up over {BAR_REPLICAS} replicas, spread, winner verified", times["spread"], SPREAD_TIMES),
        Bar(
            name="memory a block, one holder, a million blocks",
            bound=f"at most {MEMORY_RATIO:g} x Dynamo's",
            measured=f"{worst:.2f} x",
            holds=worst <= MEMORY_RATIO,
        ),
    ]


def _at_least(name: str, times: float, bound: float) -> Bar:
    return Bar(name=name, bound=f"at least {bound:g} x as fast as Dynamo's", measured=f"{times:.1f} x", holds=times >= bound)


def markdown(result: Result) -> str:
    """The section's tables."""
    return "\n".join(_lines(result)) + "\n"


def write_paper(paper: Path, result: Result) -> None:
    """Renew the part of `paper` between the marks; raises `ValueError` where it has none."""
    renew(paper, BEGIN, END, markdown(result))


def _lines(result: Result) -> Iterator[str]:
    origin = result.origin
    yield (
        f"Commit {origin.commit}, seed {origin.seed}, {origin.machine}, {origin.python}, ai-dynamo-runtime {origin.dynamo}, "
        f"one core (load {origin.load_average:.1f} when it began). Best round, median in brackets."
    )
    yield ""
    yield "| bar | bound | measured | |"
    yield "|---|---|---|---|"
    for bar in bars(result):
        yield f"| {bar.name} | {bar.bound} | {bar.measured} | {'holds' if bar.holds else '**fails**'} |"
    yield ""
    yield "Look-up of 10,240 blocks, microseconds:"
    yield ""
    yield (
        "| workload | replicas | pairs held | ours, winner verified | ours, unverified | whole facade | Dynamo "
        "| of which list conversion | Dynamo / ours verified |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for lookup in result.lookups:
        us = lookup.us
        columns = ("verified", "unverified", "facade", "dynamo", "dynamo_conversion")
        cells = " | ".join(_figure(us[name]) for name in columns)
        times = us["dynamo"].best / us["verified"].best
        yield f"| {lookup.workload} | {lookup.num_replicas} | {lookup.num_pairs:,} | {cells} | {times:.1f} |"
    yield ""
    yield "Events, CPU nanoseconds a block:"
    yield ""
    yield "| events | ours | Dynamo | Dynamo / ours |"
    yield "|---|---|---|---|"
    for events in result.events:
        ours, dynamo = events.ns_per_block["turnwise"], events.ns_per_block.get("dynamo")
        theirs = (_figure(dynamo), f"{dynamo.best / ours.best:.2f}") if dynamo is not None else ("", "")
        yield f"| {events.case} | {_figure(ours)} | {theirs[0]} | {theirs[1]} |"
    yield ""
    yield "Memory, a million blocks with one holder, bytes a block of resident memory:"
    yield ""
    yield "| events of | ours | Dynamo | ours / Dynamo | what ours consists of |"
    yield "|---|---|---|---|---|"
    for case in result.memory:
        ours_bytes, dynamo_bytes = case.bytes_per_block["turnwise"], case.bytes_per_block["dynamo"]
        parts = ", ".join(f"{name} {size:.1f}" for name, size in case.parts.items())
        yield f"| {case.case} | {ours_bytes:.1f} | {dynamo_bytes:.1f} | {ours_bytes / dynamo_bytes:.2f} | {parts} |"


def _figure(timing: Timing) -> str:
    return f"{timing.best:.0f} ({timing.median:.0f})"
