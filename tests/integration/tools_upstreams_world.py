"""Upstreams of a file, run for a test; what happens is waited for, never time."""

import asyncio
import os
import random
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

from turnwise.tools_gateway.credentials import Credentials
from turnwise.tools_gateway.settings import Settings, UpstreamSettings
from turnwise.tools_gateway.upstreams import GatewayUpstreams, State
from turnwise.tools_gateway.upstreams.pace import BUDGET
from turnwise.tools_gateway.values import Fault, Request, ToolFault, UpstreamName

SCRIPTED = str(Path(__file__).with_name("tools_scripted_server.py"))
FAULTY = str(Path(__file__).parents[2] / "bench" / "tools" / "faulty_server.py")
BOUND_S = 60.0


def scripted(name, *arguments, **more):
    return UpstreamSettings(name=name, command=(sys.executable, "-I", "-S", SCRIPTED, *arguments), **more)


class World:
    """What a gateway would see of its upstreams."""

    def __init__(self, settings, environ=None, clock=time.monotonic, budget=BUDGET):
        self.news, self.tools = [], {}
        environ = os.environ if environ is None else environ
        self.credentials = Credentials(settings, environ)
        self.upstreams = GatewayUpstreams(
            settings, environ, on_tools=self.learn, watcher=self, clock=clock, rng=random.Random(1), budget=budget
        )

    def learn(self, upstream, definitions, credential):
        self.tools[credential] = [definition["name"] for definition in definitions]

    def told(self, credential, method, params):
        self.news.append((credential.upstream, method, params))

    def credential(self, name, tenant=""):
        return self.credentials.of(UpstreamName(name), tenant)

    def facts(self, name):
        return [facts for facts in self.upstreams.facts() if facts.upstream == name]

    async def up(self, *names, but_not=None):
        """Until these stand; with `but_not` in another program than that."""
        async with asyncio.timeout(BOUND_S):
            while True:
                facts = [facts for name in names for facts in self.facts(name)]
                if facts and all(fact.state is State.UP and fact.pid != (but_not or 0) for fact in facts):
                    return facts[0]
                await turn()

    async def ask(self, name, method, params, *, within_s=BOUND_S, tenant="", notify=None, answer=None, **more):
        request = Request(method, params, time.monotonic() + within_s, **more)
        return await self.upstreams.ask(self.credential(name, tenant), request, notify, answer)

    async def call(self, name, tool, arguments=None, **more):
        return await self.ask(name, "tools/call", {"name": tool, "arguments": arguments or {}}, **more)

    async def until_called(self, name, tool, arguments):
        """The result of a call, made again while the upstream is down."""
        async with asyncio.timeout(BOUND_S):
            while True:
                try:
                    return await self.call(name, tool, arguments)
                except ToolFault as fault:
                    if fault.fault is not Fault.UPSTREAM_DOWN:
                        raise
                    await turn()

    async def fault(self, name, tool, arguments=None, **more):
        """The fault that a call ends in."""
        try:
            result = await self.call(name, tool, arguments, **more)
        except ToolFault as fault:
            return fault
        raise AssertionError(f"no fault, but {str(result)[:200]}")


async def turn():
    """Let the loop look at its files once, and wait for it no longer than that."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, done.set)
    await done.wait()


@asynccontextmanager
async def running(*upstreams, environ=None, budget=BUDGET, **more):
    """A world whose upstreams run; none of their programs is left after it."""
    world = World(Settings(upstreams=upstreams, **more), environ, budget=budget)
    owner = asyncio.create_task(world.upstreams.run())
    try:
        await turn()
        yield world
    finally:
        pids = [facts.pid for facts in world.upstreams.facts() if facts.pid]
        owner.cancel()
        await asyncio.wait((owner,))
        assert not [pid for pid in pids if is_alive(pid)]


def is_alive(pid):
    """Whether a process runs; one that only waits to be counted does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}
