"""What becomes of early runs, from the gateway's rooms over the real socket into the programs of a proxy."""

import asyncio
import contextlib
import json

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from tests.unit import tool_runs_world as gateway_world
from tests.unit.agents import World, calls, result, says, user

from turnwise.events import ToolHow, ToolStep
from turnwise.proxy.export.programs import ProgramTotals
from turnwise.proxy.gateway import Gateway, event_of
from turnwise.proxy.programs.ledger import account
from turnwise.proxy.programs.values import EXPIRED
from turnwise.proxy.programs.waterfall import waterfall
from turnwise.settings import ProgramSettings, ToolSettings
from turnwise.tools_gateway.link import Link
from turnwise.tools_gateway.messages import Announced, Filled, Settled

PATIENCE_S = 10.0
GO = user("Look at the folder.")
LS = calls(("call_1", "ls"))


class Pair:
    """A proxy's programs and a gateway's runs, each with its own end of the socket."""

    def __init__(self, tools, path):
        self.tools = tools
        self.agents = World()
        self.totals = ProgramTotals(ProgramSettings())
        self.events = []
        self._told = asyncio.Event()
        self.link = Link(path)
        self.gateway = Gateway(ToolSettings(socket=path), self._hear)

    def _hear(self, told):
        event = event_of(told)
        self.agents.programs.tool_event(event, told.program)
        self.events.append(event)
        self._told.set()

    async def until(self, is_so):
        """Wait until something is so of what was heard last."""
        async with asyncio.timeout(PATIENCE_S):
            while not (self.events and is_so(self.events[-1])):
                self._told.clear()
                await self._told.wait()

    def begin(self, *turns):
        self.agents.now = asyncio.get_running_loop().time() - 1.0  # which goes on by one with each call
        return self.agents.begin(*turns)

    def end(self, turn, answer):
        self.agents.now = asyncio.get_running_loop().time() - 1.0
        call = self.agents.end(turn, answer)
        self.totals.call_ended(turn.key, call)
        return call

    async def written(self):
        """A turn whose answer calls a tool that runs early, and has run when the answer ends."""
        turn = self.begin(GO)
        now = asyncio.get_running_loop().time
        self.gateway.tell(Announced(turn.call_id, 0, "ls", "call_1", now(), program=turn.key.id))
        self.gateway.tell(Filled(turn.call_id, 0, msgspec.Raw(json.dumps({"s": 0}).encode()), now()))
        await self.until(lambda event: event.step is ToolStep.FINISHED)
        self.end(turn, LS)
        self.gateway.tell(Settled(turn.call_id, now()))
        return turn

    def rows(self, turn):
        """The rows of the program's tool runs."""
        programs = self.agents.programs
        key, done = programs.calls(turn.key.id)
        ledger = account(done, key.started_at, ())
        return [row for row in waterfall(done, ledger, voided=programs.void_runs(turn.key.id)) if row.kind == "tool"]

    def counted(self):
        """Tool runs in metrics, by how they came about; the program has ended."""
        (ended,) = self.agents.programs.close(self.agents.now + 1.0)
        self.totals.program_ended(ended)
        registry = CollectorRegistry()
        registry.register(self.totals)
        lines = generate_latest(registry).decode().splitlines()
        found = (line.partition('turnwise_tool_runs_total{how="')[2].partition('"} ') for line in lines)
        return {how: float(count) for how, _, count in found if how}


@contextlib.asynccontextmanager
async def paired(path, **limits):
    async with gateway_world.World([gateway_world.tool("ls", gateway_world.EARLY)], **limits) as tools:
        pair = Pair(tools, path)
        tools.runs.listen(pair.link)
        await pair.link.open(tools.runs)
        running = asyncio.create_task(pair.gateway.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not pair.gateway.is_listening:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.001)
            yield pair
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await pair.link.close()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "tools.sock")


async def test_a_run_whose_result_waits_for_its_agent_is_shown_joined_with_when_it_was_asked_for(path):
    async with paired(path) as pair:
        turn = await pair.written()
        assert pair.events[-1].claimed_at is None
        assert gateway_world.text(await pair.tools.call("ls", {"s": 0})) == "1"
        await pair.until(lambda event: event.claimed_at is not None)
        last = pair.end(pair.begin(GO, LS, result("call_1")), says("It is empty."))
        (run,) = last.runs
        assert (run.how, run.is_inferred, run.has_joined) == (ToolHow.EARLY, False, True)
        assert turn.node.began_at <= run.started_at <= run.ended_at <= turn.node.ended_at < run.claimed_at <= last.times.arrived
        (row,) = pair.rows(turn)
        assert row.marks == ("early", "joined")
        assert (row.claimed_s, row.held_s) == (run.claimed_at - turn.key.started_at, run.claimed_at - run.ended_at)
        assert [done.how for done in pair.tools.meter.calls] == [ToolHow.EARLY], "the gateway counts it as joined too"
        assert pair.counted() == {"early": 1.0}


async def test_a_run_that_no_agent_asks_for_is_shown_expired(path):
    async with paired(path, claim_ttl_s=0.01) as pair:
        turn = await pair.written()
        await pair.until(lambda event: event.step is ToolStep.VOID)
        assert pair.agents.programs.waits(turn.key.id, pair.agents.now)[0][0].told is None
        (row,) = pair.rows(turn)
        assert (row.label, row.marks, row.claimed_s) == ("ls", (EXPIRED,), None)
        assert pair.counted() == {"expired": 1.0}


async def test_an_agent_that_runs_the_tool_itself_has_its_own_run_and_the_early_one_expires(path):
    async with paired(path, claim_ttl_s=0.01) as pair:
        turn = await pair.written()
        last = pair.end(pair.begin(GO, LS, result("call_1")), says("It is empty."))
        assert [run.is_inferred for run in last.runs] == [True]
        await pair.until(lambda event: event.step is ToolStep.VOID)
        assert [row.marks for row in pair.rows(turn)] == [(EXPIRED,), ()]
        assert pair.counted() == {"inferred": 1.0, "expired": 1.0}
