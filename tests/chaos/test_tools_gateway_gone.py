"""`turnwise serve` before a tools gateway that listens, goes, comes back or never reads: calls go on, what is told is whole."""

import asyncio
import contextlib
import json

import httpx
import pytest

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim
from turnwise.events import ToolHow, ToolStep
from turnwise.tools_gateway.link import Link
from turnwise.tools_gateway.messages import Announced, Filled, Settled, ToolTold

PATIENCE_S = 30
TOOL = {
    "type": "function",
    "function": {"name": "git__log", "parameters": {"type": "object", "properties": {"n": {"const": 3}}}},
}
GO = {"role": "user", "content": "What was done last?"}


class Gateway:
    """Keeps what proxies tell, as the `Runs` of a link."""

    def __init__(self):
        self.told = []
        self.changed = asyncio.Event()

    def __getattr__(self, name):
        if name not in {"announced", "filled", "voided", "settled", "disconnected"}:
            raise AttributeError(name)
        return lambda source, told=None: (self.told.append((source, told)), self.changed.set())

    async def until(self, count):
        async with asyncio.timeout(PATIENCE_S):
            while len(self.told) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def http():
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.fixture
async def sim():
    async with serve_sim(SimEngine(SimOptions(model="m", speed=1000))) as address:
        yield address.url


async def ask(http, proxy, *turns, calls="git__log"):
    """One streamed call; the deltas of its answer."""
    body = {"model": "m", "messages": [GO, *turns], "tools": [TOOL], "stream": True}
    answer = await http.post(f"{proxy.url}/v1/chat/completions", json=body, headers={"x-sim-tool-calls": calls})
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return [choice["delta"] for line in lines for choice in json.loads(line)["choices"]]


def called(deltas):
    """The tool call of an answer, put together."""
    pieces = [piece for delta in deltas for piece in delta.get("tool_calls") or ()]
    arguments = "".join(piece["function"].get("arguments", "") for piece in pieces)
    return {"id": pieces[0]["id"], "type": "function", "function": {"name": "git__log", "arguments": arguments}}


async def counted(http, proxy, line):
    """Whether the metrics have this line."""
    return f"turnwise_gateway_{line}\n" in (await http.get(f"{proxy.admin_url}/metrics")).text


async def until_counted(http, proxy, line):
    async with asyncio.timeout(PATIENCE_S):
        while not await counted(http, proxy, line):
            pass


async def programs(http, proxy):
    return (await http.get(f"{proxy.admin_url}/programs")).json()["programs"]


async def test_a_turn_is_told_whole_and_the_run_that_is_told_back_is_in_its_program(serve_sims, sim, http, tmp_path):
    path = str(tmp_path / "tools.sock")
    gateway = Gateway()
    link = Link(path)
    await link.open(gateway)
    proxy = await serve_sims(sim, arguments=["--set", f"tools.socket={path}"])
    await until_counted(http, proxy, "listening 1.0")
    call = called(await ask(http, proxy))
    await gateway.until(3)
    (source, announced), (_, filled), (_, settled) = gateway.told
    assert isinstance(announced, Announced)
    assert (announced.tool, announced.id, announced.index, announced.not_early) == ("git__log", call["id"], 0, None)
    assert isinstance(filled, Filled)
    assert bytes(filled.arguments) == b'{"n":3}'
    assert (settled, settled.why) == (Settled(announced.turn, settled.at), None)

    times = {"queued_at": filled.at, "started_at": filled.at}
    step = ToolTold(announced.turn, 0, call["id"], announced.program, "git__log", ToolStep.STARTED, settled.at, ToolHow.EARLY,
                    **times, predicted_s=5.0, remaining_s=5.0)  # fmt: skip
    link.tool_told(source, step)
    await until_counted(http, proxy, "heard_total 1.0")
    page = (await http.get(f"{proxy.admin_url}/programs/{announced.program}")).json()
    (waiting,) = page["waiting"]
    assert (waiting["tool"], waiting["step"], waiting["how"], waiting["source"]) == ("git__log", "started", "early", "measured")
    assert 0 < waiting["remaining_s"] <= 5.0
    assert page["program"]["remaining_s"] == pytest.approx(waiting["remaining_s"])
    (row,) = await programs(http, proxy)
    assert 0 < row["remaining_s"] <= 5.0

    end = settled.at + 1e-4
    finished = ToolTold(announced.turn, 0, call["id"], announced.program, "git__log", ToolStep.FINISHED, end, ToolHow.EARLY,
                        **times, ended_at=end, claimed_at=end, predicted_s=5.0)  # fmt: skip
    link.tool_told(source, finished)
    await until_counted(http, proxy, "heard_total 2.0")
    result = {"role": "tool", "tool_call_id": call["id"], "content": "a fix"}
    await ask(http, proxy, {"role": "assistant", "content": None, "tool_calls": [call]}, result, calls="0")
    page = (await http.get(f"{proxy.admin_url}/programs/{announced.program}")).json()
    (row,) = [row for row in page["rows"] if row["kind"] == "tool"]
    assert (row["marks"], row["is_inferred"], row["predicted_s"]) == (["early", "joined"], False, 5.0)
    assert row["saved_s"] > 0
    assert page["waiting"] == []
    tools = (await http.get(f"{proxy.admin_url}/tools")).json()["tools"]
    assert [(tool["tool"], tool["source"]) for tool in tools] == [("git__log", "measured")]
    await link.close()


async def test_calls_go_on_while_the_gateway_is_gone_and_it_is_told_again_when_it_is_back(serve_sims, sim, http, tmp_path):
    path = str(tmp_path / "tools.sock")
    proxy = await serve_sims(sim, arguments=["--set", f"tools.socket={path}"])
    for _ in range(2):
        called(await ask(http, proxy))
        gateway = Gateway()
        link = Link(path)
        await link.open(gateway)
        await until_counted(http, proxy, "listening 1.0")
        called(await ask(http, proxy))
        await gateway.until(3)
        assert [type(told) for _, told in gateway.told] == [Announced, Filled, Settled]
        await link.close()
        await until_counted(http, proxy, "listening 0.0")
    called(await ask(http, proxy))
    assert await counted(http, proxy, "lost_turns_total 0.0")


async def test_a_gateway_that_never_reads_costs_its_turns_and_nobody_elses_time(serve_sims, sim, http, tmp_path):
    path = str(tmp_path / "tools.sock")
    stuck = []

    async def greet(reader, writer):
        reader._transport.pause_reading()
        stuck.append(writer)
        writer.write(b'{"type":"hello","version":1,"name":"stuck"}\n')

    server = await asyncio.start_unix_server(greet, path)
    arguments = ["--set", f"tools.socket={path}", "--set", "tools.max_pending_bytes=1024"]
    proxy = await serve_sims(sim, arguments=arguments)
    await until_counted(http, proxy, "listening 1.0")
    async with asyncio.timeout(PATIENCE_S):
        while await counted(http, proxy, "lost_turns_total 0.0"):
            await asyncio.gather(*(ask(http, proxy) for _ in range(16)))
    called(await ask(http, proxy))
    for writer in stuck:
        writer.transport.abort()
    server.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.wait_closed(), PATIENCE_S)
