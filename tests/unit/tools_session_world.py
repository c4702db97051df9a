"""One session between fakes: the connections that a test gives it, and all that it tells."""

import asyncio
import gc
import math
from contextlib import asynccontextmanager
from random import Random

from turnwise.tools_gateway.upstreams.greeting import Greeting
from turnwise.tools_gateway.upstreams.jsonrpc import MODERN
from turnwise.tools_gateway.upstreams.pace import Pace
from turnwise.tools_gateway.upstreams.session import Session
from turnwise.tools_gateway.values import Credential, Fault, Request, ToolFault

DOWN = ToolFault(Fault.UPSTREAM_DOWN, "one cannot be reached")


class Connection:
    """A way to an upstream that answers what it is told to."""

    pid = None

    def __init__(self, session, *, version=MODERN, pages=None, answers=None, uris=()):
        self.greeting = Greeting(version, {"capabilities": {"tools": {"listChanged": True}, "resources": {}}})
        self.pages = pages if pages is not None else [{"tools": [{"name": "echo"}]}]
        self.answers = answers or {}
        self.session, self.lost, self.asked, self.watched, self.is_closed = session, None, [], [], False
        self.num_streams, self.stream_ended = 0, asyncio.Event()

    def accept(self, definitions):
        return definitions

    async def ask(self, request, notify=None, answer=None):
        self.asked.append((request.method, request.params))
        if request.method == "tools/list":
            page = self.pages[int(request.params.get("cursor", 0))]
            if isinstance(page, ToolFault):
                raise page
            return page
        said = self.answers.get(request.method, {"said": request.method})
        if callable(said):
            return await said()
        if isinstance(said, ToolFault):
            raise said
        return said

    async def check(self):
        await self.ask(Request("check", {}, math.inf))

    async def watch(self, uris):
        self.watched.append(list(uris))
        self.num_streams += 1
        try:
            await asyncio.sleep(0)
            self.session.news("notifications/subscriptions/acknowledged", {})
            await self.stream_ended.wait()
            return True
        finally:
            await asyncio.sleep(0)
            self.num_streams -= 1

    def give_up(self, why):
        if self.lost is None:
            self.lose(why)

    def lose(self, why):
        self.lost = ToolFault(Fault.UPSTREAM_DOWN, why)
        self.session.lost()

    async def aclose(self):
        self.is_closed = True


class Dial:
    """Gives connections, or raises, one after another; then waits to be told what."""

    def __init__(self):
        self.given = asyncio.Queue()
        self.is_closed = False

    async def __call__(self):
        item = await self.given.get()
        if isinstance(item, BaseException):
            raise item
        return item

    async def aclose(self):
        self.is_closed = True


class World:
    """One session with its owner; waits for what happens, never for time."""

    def __init__(self):
        self.now, self.dial, self.listed, self.told = 0.0, Dial(), asyncio.Queue(), []
        self.session = Session(
            Credential("one", "secret-digest"),
            Pace(budget=None),
            clock=lambda: self.now,
            rng=Random(1),
            on_tools=self.listed.put_nowait,
            told=lambda method, params: self.told.append((method, params)),
        )
        self.owner = asyncio.create_task(self.session.run(self.dial))

    async def up(self, **options):
        connection = Connection(self.session, **options)
        self.dial.given.put_nowait(connection)
        await self.listed.get()
        return connection

    def ask(self, method="tools/call", params=None, *, deadline=math.inf):
        request = Request(method, params or {}, deadline)
        return asyncio.create_task(self.session.ask(request, None, None))

    async def until(self, holds):
        async with asyncio.timeout(20):
            while True:
                if holds():
                    return
                await asyncio.sleep(0)


@asynccontextmanager
async def a_world():
    """A session whose end is waited for; nothing fails in it that nobody asks for."""
    unheard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    world = World()
    yield world
    world.owner.cancel()
    await asyncio.wait((world.owner,))
    assert world.dial.is_closed
    gc.collect()
    assert not unheard, "a task of the test or the session failed, and nobody asked why"


def fault_of(task):
    return task.exception().fault


async def end(world):
    world.owner.cancel()
    await asyncio.wait((world.owner,))
