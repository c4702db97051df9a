"""Replicas that come, go, change and answer oddly while `turnwise serve` watches them."""

import asyncio
import contextlib
import json
import sys

import httpx
import msgspec
import pytest

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim
from turnwise.engines.sim.api import EventEndpoints
from turnwise.engines.vllm import VllmAdapter
from turnwise.events import BlocksStored
from turnwise.index import KvIndex
from turnwise.proxy.discovery import Discovery
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.fleet import Fleet
from turnwise.settings import IndexSettings, Replica, Settings

PATIENCE_S = 30
NEVER_UNHEALTHY = ["--set", "fleet.unhealthy_after=1000000"]


def body(text, model="m"):
    return {"model": model, "messages": [{"role": "user", "content": text * 50}], "max_tokens": 2}


@pytest.fixture
async def http():
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        yield client


async def look(http, proxy):
    """The first replica as the proxy sees it."""
    return (await http.get(f"{proxy.admin_url}/v1/replicas")).json()["replicas"][0]


async def until(http, proxy, is_so):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            replica = await look(http, proxy)
            if is_so(replica):
                return replica
            await asyncio.sleep(0)


async def metric(http, proxy, name):
    lines = (await http.get(f"{proxy.admin_url}/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))


@pytest.mark.parametrize("other", ["404 Not Found", "200 OK", "500 Internal Server Error"])
async def test_a_replica_that_only_lists_its_models_stays_in(faulty, serve, http, other):
    class Compatible(faulty.Replica):
        num_checks = 0

        def _answer_get(self, path, writer):
            if path == "/v1/models":
                self.num_checks += 1
                super()._answer_get(path, writer)
            else:
                writer.write(b"HTTP/1.1 %b\r\ncontent-length: 7\r\n\r\nwelcome" % other.encode())

    replica = await Compatible("a", faulty.answer_well).start()
    proxy = await serve(replica, arguments=["--set", "fleet.check_interval_s=0.01"])
    async with asyncio.timeout(PATIENCE_S):
        while replica.num_checks < 20:
            assert (await look(http, proxy))["is_routable"]
    assert (await http.post(f"{proxy.url}/v1/chat/completions", json=faulty.CHAT)).status_code == 200


async def test_an_adapter_loaded_later_is_served_and_the_cache_stays_known(serve_sims, http):
    engine = SimEngine(SimOptions(model="m"))
    async with serve_sim(engine) as address:
        proxy = await serve_sims(address.url)
        await until(http, proxy, lambda replica: replica["feed"] == "live")
        assert (await http.post(f"{proxy.url}/v1/chat/completions", json=body("hello "))).status_code == 200
        loaded = msgspec.structs.replace(engine.options, loras=("later",))
        engine.options = engine._calls._options = loaded
        await until(http, proxy, lambda replica: "later" in replica["facts"]["models"])
        answer = await http.post(f"{proxy.url}/v1/chat/completions", json=body("hello ", model="later"))
        assert answer.json()["model"] == "later"
        assert await metric(http, proxy, "turnwise_index_blocks") > 0
        assert (await look(http, proxy))["feed"] == "live"


class Path:
    """A TCP path to a port, which can be cut and mended."""

    def __init__(self, endpoint):
        self._target = int(endpoint.rpartition(":")[2])
        self._port = 0
        self._writers = set()

    async def mend(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return f"tcp://127.0.0.1:{self._port}"

    def cut(self):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, far_writer}
        self._writers |= both
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._writers -= both


async def _copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.transport.abort()


async def test_events_missed_while_their_path_was_cut_are_made_good(serve_sims, http):
    engine = SimEngine(SimOptions(model="m"))
    async with serve_sim(engine) as address:
        path = Path(address.events)
        engine.endpoints = EventEndpoints(await path.mend(), address.replay)
        proxy = await serve_sims(address.url)
        await until(http, proxy, lambda replica: replica["feed"] == "live")
        await http.post(f"{proxy.url}/v1/chat/completions", json=body("before "))
        path.cut()
        assert (await until(http, proxy, lambda replica: replica["feed"] == "stale"))["is_healthy"]
        await http.post(f"{proxy.url}/v1/chat/completions", json=body("meanwhile "))
        await path.mend()
        await until(http, proxy, lambda replica: replica["feed"] == "live")
        batches = await engine.event_source().replay(0)
        stored = [
            value for batch in batches for event in batch.events if isinstance(event, BlocksStored) for value in event.hashes
        ]
        assert await metric(http, proxy, "turnwise_index_blocks") == len(stored) > 0
        assert await metric(http, proxy, "turnwise_feed_restarts_total") == 0
        path.cut()


@contextlib.asynccontextmanager
async def sim_process(*arguments):
    command = [sys.executable, "-m", "turnwise.proxy", "sim", "--model", "m", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    try:
        yield process, json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("arguments", [[], NEVER_UNHEALTHY], ids=["by its checks", "by its events alone"])
async def test_the_feed_of_a_killed_engine_is_stale_until_another_one_is_there(serve_sims, http, arguments):
    async with sim_process("--port", "0") as (process, address):
        proxy = await serve_sims(address["url"], arguments=arguments)
        await until(http, proxy, lambda replica: replica["feed"] == "live")
        await http.post(f"{proxy.url}/v1/chat/completions", json=body("hello "))
        process.kill()
        await until(http, proxy, lambda replica: replica["feed"] == "stale" and replica["is_healthy"] == bool(arguments))
    ports = [address[name].rpartition(":")[2] for name in ("url", "events", "replay")]
    async with sim_process("--port", ports[0], "--events-port", ports[1], "--replay-port", ports[2]):
        await until(http, proxy, lambda replica: replica["feed"] == "live" and replica["is_healthy"])
        assert await metric(http, proxy, "turnwise_index_blocks") == 0


async def test_checks_go_to_the_replica_whatever_proxy_the_environment_names(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with serve_sim(SimEngine(SimOptions(model="m"))) as address:
        settings = Settings(replicas=(Replica(url=address.url, name="a"),))
        index = KvIndex(IndexSettings())
        fleet = Fleet(settings, index)
        clock = asyncio.get_running_loop().time
        watching = asyncio.create_task(Discovery(settings, fleet, index, Metrics(), VllmAdapter(), clock=clock).run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not fleet.members["a"].is_healthy:  # noqa: ASYNC110 - nobody tells, and one turn is soon over
                    await asyncio.sleep(0)
        finally:
            watching.cancel()
            await asyncio.wait([watching])
