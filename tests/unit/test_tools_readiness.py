"""Whether a gateway says in words that somebody can use why it serves nobody."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.integration.tools_front import FakeRegistry, FakeUpstreams

from turnwise.tools_gateway.server.readiness import Readiness
from turnwise.tools_gateway.values import Principal, UpstreamName


async def why(names: list[str]) -> str:
    """What is said after the first round."""
    readiness = Readiness(FakeUpstreams(), FakeRegistry([]), [UpstreamName(name) for name in names], lambda: 0.0)
    rounds = asyncio.ensure_future(readiness.run(Principal("")))
    for _ in range(100):
        await asyncio.sleep(0)
    rounds.cancel()
    with suppress(asyncio.CancelledError):
        await rounds
    return readiness.not_ready()


async def test_upstreams_that_are_away_are_named():
    assert await why(["a", "b"]) in {
        "no upstream answers: a is not connected.; b is not connected.",
        "no upstream answers: b is not connected.; a is not connected.",
    }


async def test_without_upstreams_it_says_that_there_are_none():
    assert await why([]) == "no upstream is named"
