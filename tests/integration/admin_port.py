"""A client of the admin port of a proxy, and programs that it is asked for."""

import contextlib

import httpx
from aiohttp.test_utils import TestServer
from tests.page.stories import NOW
from tests.unit.agents import World, user
from tests.unit.agents import calls as calls_tools

from turnwise.index import KvIndex
from turnwise.proxy.admin.api import AdminApi
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.programs import Programs
from turnwise.settings import Replica, Settings

WALL = 1_763_740_800.0
"""The time of day."""


@contextlib.asynccontextmanager
async def admin(programs, calls=(), kept=KvIndex):
    """A client of the admin port of a proxy with these programs; `calls` ended, and `kept` makes its index."""
    settings = Settings(replicas=(Replica(url="http://127.0.0.1:1", name="gpu-a"),))
    index, metrics = kept(settings.index), Metrics()
    fleet = Fleet(settings, index)
    audit = Audit(lambda: WALL - NOW)
    for call in calls:
        audit.call_ended(call, "none")
    recorder = Recorder(index, fleet, metrics, audit, lambda: NOW)
    api = AdminApi(settings, fleet, metrics, recorder, index, programs, clock=lambda: NOW, wall=lambda: WALL)
    async with (
        TestServer(api.application()) as server,
        httpx.AsyncClient(base_url=str(server.make_url("")), trust_env=False) as http,
    ):
        yield http


def waiting_for_a_tool(name: str = "") -> Programs:
    """Programs, of which one waits for the result of `ls`."""
    world = World()
    world.call(user("Go."), answer=calls_tools(("call_1", "ls")), headers={"x-turnwise-program": name} if name else {})
    return world.programs
