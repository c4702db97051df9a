"""A server that fetches whatever it is told to, private addresses too: that nothing leaves early where it may not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from mcp import Client
from tests.tools.stage import PATIENCE_S, Gateway, ToolServers, Web, operators_file, serving

from turnwise.tools_gateway.messages import (
    Announced,
    Filled,
    FromGateway,
    FromProxy,
    Hello,
    How,
    Settled,
    Step,
    ToolTold,
    Void,
    WhyNotEarly,
    encode,
)
from turnwise.types import CallId

pytestmark = pytest.mark.tools
FETCH = "fetch__fetch"
EARLY = """
[upstreams.tools.fetch]
read_only = true
idempotent = true
early = true
deadline_s = 20.0
"""


class Proxy:
    """The proxy's end of the socket, as far as these tests need one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = msgspec.json.Decoder(FromGateway)

    def tell(self, *messages: FromProxy) -> None:
        self._writer.write(b"".join(map(encode, messages)))

    def writes(self, url: str, *, is_tainted: bool = False, not_early: WhyNotEarly | None = None) -> CallId:
        """Let a model write a call of the tool that fetches; gives its turn, which has not ended."""
        turn, now = CallId(uuid4().hex), time.monotonic()
        arguments = msgspec.Raw(msgspec.json.encode({"url": url}))
        announced = Announced(turn, 0, FETCH, f"call-{turn}", now, is_tainted=is_tainted, not_early=not_early)
        self.tell(announced, Filled(turn, 0, arguments, now))
        return turn

    def ends(self, turn: CallId, why: Void | None = None) -> None:
        self.tell(Settled(turn, time.monotonic(), why))

    async def heard(self, turn: CallId, step: Step) -> ToolTold:
        """The first that is told of a turn's call having come so far."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told = self._decoder.decode(await self._reader.readline())
                if isinstance(told, ToolTold) and (told.turn, told.step) == (turn, step):
                    return told


@pytest.fixture(scope="module")
def gateway(tool_servers: ToolServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The fetching server alone, marked early; it is open-world, as everything of which the operator does not say otherwise."""
    folder = tmp_path_factory.mktemp("fetching")
    socket = f'socket = "{folder}/tools.sock"\n'
    with serving(folder, operators_file({"fetch": tool_servers.fetch()}, front=socket, more=EARLY)) as running:
        yield running


@contextlib.asynccontextmanager
async def proxy(socket: Path) -> AsyncIterator[Proxy]:
    reader, writer = await asyncio.open_unix_connection(socket)
    connected = Proxy(reader, writer)
    connected.tell(Hello(name="test"))
    try:
        yield connected
    finally:
        writer.close()
        await writer.wait_closed()


async def fetched(gateway: Gateway, url: str) -> str:
    """What an agent gets that calls the tool itself."""
    async with Client(gateway.url) as client:
        return str((await client.call_tool(FETCH, {"url": url})).content)


async def test_a_page_inside_is_fetched_when_an_agent_asks(gateway: Gateway, web: Web) -> None:
    assert "nine lamps" in await fetched(gateway, f"{web.url}/asked")
    assert web.asked.count("/asked") == 1


async def test_a_page_is_fetched_early_once_and_the_agent_gets_it(gateway: Gateway, web: Web) -> None:
    url = f"{web.url}/early"
    async with proxy(gateway.socket) as told:
        turn = told.writes(url)
        assert (await told.heard(turn, Step.FINISHED)).how is How.EARLY
        assert web.asked.count("/early") == 1
        told.ends(turn)
        assert "nine lamps" in await fetched(gateway, url)
    assert web.asked.count("/early") == 1


async def test_nothing_is_fetched_early_once_the_prompt_holds_results_of_tools(gateway: Gateway, web: Web) -> None:
    async with proxy(gateway.socket) as told:
        tainted = told.writes(f"{web.url}/leak?secret=1", is_tainted=True)
        untainted = told.writes(f"{web.url}/after-the-tainted-one")
        await told.heard(untainted, Step.FINISHED)
        told.ends(tainted)
        told.ends(untainted)
        assert not [path for path in web.asked if path.startswith("/leak")]
        assert "nine lamps" in await fetched(gateway, f"{web.url}/leak?secret=1")
    assert web.asked.count("/leak?secret=1") == 1


async def test_nothing_is_fetched_early_that_the_proxy_forbids(gateway: Gateway, web: Web) -> None:
    async with proxy(gateway.socket) as told:
        for why in WhyNotEarly:
            told.writes(f"{web.url}/forbidden", not_early=why)
        await told.heard(told.writes(f"{web.url}/after-the-forbidden-ones"), Step.FINISHED)
    assert "/forbidden" not in web.asked


async def test_what_was_fetched_for_a_turn_that_was_cut_is_given_to_nobody(gateway: Gateway, web: Web) -> None:
    url = f"{web.url}/cut"
    async with proxy(gateway.socket) as told:
        turn = told.writes(url)
        await told.heard(turn, Step.FINISHED)
        told.ends(turn, Void.LENGTH)
        await told.heard(turn, Step.VOID)
        assert "nine lamps" in await fetched(gateway, url)
    assert web.asked.count("/cut") == 2
