"""What it takes to list live programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec
from aiohttp.test_utils import make_mocked_request
from bench.knowledge.row import Row, at_most
from bench.programs.live import HOW, NUM_PROGRAMS, Clients

from turnwise.index import KvIndex
from turnwise.proxy.admin.programs import ProgramsApi
from turnwise.proxy.fleet import Fleet
from turnwise.settings import Settings

BOUND = 5.0
ROUNDS = 9
WALL = 1_763_740_800.0
"""The time of day."""


def measure(seed: int, _: Path) -> Row:
    """CPU of `GET /programs`, over that of encoding what it answers."""
    clients = Clients(seed)
    settings = Settings()
    index = KvIndex(settings.index)
    fleet = Fleet(settings, index)
    api = ProgramsApi(settings, clients.programs, index, fleet, clock=lambda: clients.now, wall=lambda: WALL)
    request = make_mocked_request("GET", f"/programs?limit={NUM_PROGRAMS}")
    body = asyncio.run(api.get_programs(request)).body
    assert isinstance(body, bytes)
    told = {"programs": clients.programs.listing(clients.now, None, WALL - clients.now)}
    if msgspec.json.encode(told) != body or len(told["programs"]) != NUM_PROGRAMS:
        raise RuntimeError("the answer is not the list of all programs")
    ratios, asked, encoded = [], [], []
    for _round in range(ROUNDS):
        asked.append(_cpu_ms(lambda: asyncio.run(api.get_programs(request))))
        encoded.append(_cpu_ms(lambda: msgspec.json.encode(told)))
        ratios.append(asked[-1] / encoded[-1])
    figures = {"GET /programs ms": median(asked), "encoding ms": median(encoded), "answer KB": len(body) / 1e3}
    title = "CPU of GET /programs with 10,000 live programs"
    return at_most("listing", title, median(ratios), BOUND, "x encoding its answer", figures, f"{HOW} All are listed.")


def _cpu_ms(work: Callable[[], object]) -> float:
    before = time.process_time_ns()
    work()
    return (time.process_time_ns() - before) / 1e6
