"""The supervisor's own decisions, with workers that are none."""

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.workers.admin import WorkersAdmin
from turnwise.proxy.workers.process import WorkerProcess, WorkersFailed
from turnwise.proxy.workers.supervisor import CUT_S, serve_with
from turnwise.types import ReplicaId

R0 = ReplicaId("r0")


class Deaf:
    """A worker that serves, and ends when it is killed."""

    number = 0

    def __init__(self):
        self.has_served = asyncio.Event()
        self.told = []
        self._killed = asyncio.Event()

    async def keep(self):
        self.has_served.set()
        await self._killed.wait()
        return -9

    def stop(self):
        self.told.append("stop")

    def cut(self):
        self.told.append("cut")

    def kill(self):
        self.told.append("kill")
        self._killed.set()


def test_a_worker_that_does_not_end_is_cut_and_then_killed():
    async def serve():
        worker, stop = Deaf(), asyncio.Event()
        with pytest.raises(WorkersFailed, match="1 of 1 workers do not end"):
            await serve_with([worker], stop, stop.set, ends_within_s=10.0)
        assert worker.told == ["stop", "cut", "kill"]
        assert asyncio.get_running_loop().time() == 10.0 + CUT_S

    run_virtual(serve())


@pytest.fixture
async def admin():
    """The admin API of one worker that never serves: a client, the worker, and what is to drain."""
    worker, drained = WorkerProcess(0, lambda _: None), set()
    async with TestClient(TestServer(WorkersAdmin([worker], {R0}, drained).application())) as client:
        yield client, worker, drained


async def test_a_change_that_reaches_no_worker_is_not_kept_for_those_to_come(admin):
    client, _, drained = admin
    assert (await client.post("/v1/replicas/r0/drain")).status == 503
    assert drained == set()
    drained.add(R0)
    assert (await client.post("/v1/replicas/r0/undrain")).status == 503
    assert drained == {R0}


async def test_no_worker_that_starts_is_told_of_a_replica_that_does_not_exist(admin):
    client, worker, drained = admin
    async with worker.starting:  # a known replica's change would wait for it, on the list already
        assert (await client.post("/v1/replicas/nobody/drain")).status == 503
    assert drained == set()
