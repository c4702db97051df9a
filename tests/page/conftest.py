"""A real Chromium, and admin ports for it to look at."""

import contextlib
import os

import pytest_asyncio
from aiohttp import web
from tests.page.browser import browsing
from tests.page.stories import NOW, ToldPrograms

from turnwise.events import LoadReport, ReplicaFacts
from turnwise.index import DomainKey, KvIndex
from turnwise.proxy.admin.api import AdminApi
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.settings import Replica, Settings

MODEL = "qwen3-coder-30b"
FEEDS = ("live", "stale", "none")


def admin_of(programs, num_replicas):
    """The admin API of a proxy with these programs; its replicas are well, stale and down."""
    settings = Settings(
        replicas=tuple(
            Replica(url=f"http://127.0.0.1:{1 + number}", name=f"gpu-{letter}")
            for number, letter in enumerate("abc"[:num_replicas])
        )
    )
    index, metrics = KvIndex(settings.index), Metrics()
    fleet = Fleet(settings, index)
    for number, (name, member) in enumerate(fleet.members.items()):
        index.add_replica(name, DomainKey(MODEL, 16, "sha256"), num_blocks=3_000, has_events=True)
        member.facts = ReplicaFacts(models=(MODEL,), load=LoadReport(block_size=16, num_blocks=3_000))
        member.is_healthy, member.feed, member.num_running = number < 2, FEEDS[number], 4 - 2 * number
    recorder = Recorder(index, fleet, metrics, Audit(), lambda: NOW)
    return AdminApi(settings, fleet, metrics, recorder, index, programs, clock=lambda: NOW)


class Port:
    """An admin port that can go away and come back."""

    def __init__(self, programs, num_replicas):
        self.programs = programs
        self._num_replicas = num_replicas
        self._runner = None
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    async def open(self):
        self._runner = web.AppRunner(admin_of(self.programs, self._num_replicas).application(), access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def close(self):
        await self._runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tab():
    """Opens tabs of one browser."""
    async with browsing(os.environ["TURNWISE_CHROMIUM"]) as tab:
        yield tab


@pytest_asyncio.fixture(loop_scope="module")
async def page(tab):
    """A tab that must not complain; an error that a test expects it takes out of `page.errors`."""
    page = await tab()
    yield page
    assert page.errors == []
    await page.do("Page.close")


@pytest_asyncio.fixture(loop_scope="module")
async def port():
    """Opens admin ports: `await port(programs, num_replicas=3)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def opened(programs=None, num_replicas=3):
            made = Port(programs or ToldPrograms(), num_replicas)
            await made.open()
            stack.push_async_callback(made.close)
            return made

        yield opened
