"""The loads: what is sent, over how many connections, for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from bench.proxy import bodies

NUM_PROMPTS = 1_000
"""Distinct prompts of 1 KB, sent in turn: one body sent again and again would be one path through every prefix tree."""
NUM_CHUNKS = 100

Unit = Literal["request", "chunk"]


class Scenario(msgspec.Struct, frozen=True):
    """One load: bodies, connections, and chunks of a stream where `num_chunks` is not 0, `gap_us` apart.

    A sample lasts `weight` times the seconds asked for, from when all connections have begun to when they begin nothing more.
    """

    name: str
    title: str
    bodies: str
    connections: int = 1
    weight: float = 1.0
    num_chunks: int = 0
    gap_us: int = 0

    @property
    def unit(self) -> Unit:
        """What CPU time is divided by."""
        return "chunk" if self.num_chunks else "request"

    @property
    def spread_us(self) -> int:
        """Over how long connections begin: a stream's length, so that streams stand at every stage at every moment."""
        return self.num_chunks * self.gap_us


SCENARIOS = (
    Scenario("small1", "1 KB, 1 connection", "1k"),
    Scenario("small16", "1 KB, 16 connections", "1k", connections=16),
    Scenario("small64", "1 KB, 64 connections", "1k", connections=64, weight=1.5),
    Scenario("10k", "10 KB, 1 connection", "10k"),
    Scenario("100k", "100 KB, 1 connection", "100k"),
    Scenario("600k", "600 KB, 1 connection", "600k"),
    Scenario("next600k", "next turn of a 600 KB conversation, 1 connection", "growing", weight=2),
    Scenario(
        "stream2ms", "64 streams, a chunk each 2 ms", "2ms", connections=64, weight=2, num_chunks=NUM_CHUNKS, gap_us=2_000
    ),
    Scenario(
        "stream20ms", "64 streams, a chunk each 20 ms", "20ms", connections=64, weight=1.5, num_chunks=NUM_CHUNKS, gap_us=20_000
    ),
)


def write_bodies(folder: Path, seed: int, scenarios: tuple[Scenario, ...]) -> dict[str, Path]:
    """Make and write the bodies that the scenarios send; gives the file of each set by its name."""
    paths = {scenario.bodies: folder / f"{scenario.bodies}.bodies" for scenario in scenarios}
    for name, path in paths.items():
        bodies.write(path, _make(name, seed))
    return paths


def _make(name: str, seed: int) -> list[bodies.Conversation]:
    if name == "growing":
        return bodies.growing(seed, 8)
    if name.endswith("ms"):
        gap_us = int(name.removesuffix("ms")) * 1_000
        return bodies.single(seed, NUM_PROMPTS, 1_000, {"stream": True, "max_tokens": NUM_CHUNKS, "seed": gap_us})
    size = int(name.removesuffix("k"))
    return bodies.single(seed, {1: NUM_PROMPTS, 10: 200, 100: 50, 600: 16}[size], size * 1_000)


def example() -> bytes:
    """A small body, to ask whether a target answers."""
    return next(bodies.single(0, 1, 1_000)[0].bodies())
