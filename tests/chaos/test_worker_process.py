"""One worker process as its supervisor keeps it, and the port that it is given."""

import asyncio
import contextlib
import json
import os
import socket
import sys

import msgspec
import pytest

from turnwise.proxy.workers.order import Order
from turnwise.proxy.workers.port import held_port
from turnwise.proxy.workers.ports import Seat
from turnwise.proxy.workers.process import WorkerProcess, WorkersFailed
from turnwise.settings import Log, Server, Settings


@pytest.fixture
def worker_at():
    """Makes a worker without siblings, that listens on a port and has its admin API at a path."""
    with contextlib.ExitStack() as stack:

        def make(port, admin_path, *, log_level="warning"):
            inbound, outbound = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            stack.enter_context(inbound)
            stack.enter_context(outbound)
            seat = Seat(number=0, inbound_fd=inbound.fileno(), sibling_fds={1: outbound.fileno()}, admin_path=str(admin_path))
            settings = Settings(server=Server(port=port), log=Log(level=log_level))
            return WorkerProcess(0, lambda _: Order(settings, seat))

        yield make


async def test_a_worker_that_cannot_serve_ends_and_says_why(worker_at, tmp_path, capfd):
    worker = worker_at(0, tmp_path / "nowhere" / "socket")
    with pytest.raises(WorkersFailed, match="worker 0 ended with status 1 before it could serve"):
        await worker.keep()
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert "a worker cannot listen" in said[0]
    assert not worker.is_serving


async def test_a_worker_that_is_stopped_before_it_serves_ends_well(worker_at, tmp_path):
    worker = worker_at(0, tmp_path / "socket")
    keeping = asyncio.create_task(worker.keep())
    worker.stop()
    assert await keeping == 0


async def test_a_worker_listens_on_the_port_that_its_supervisor_holds(worker_at, tmp_path):
    with held_port("127.0.0.1", 0) as port:
        worker = worker_at(port, tmp_path / "socket")
        keeping = asyncio.create_task(worker.keep())
        await worker.has_served.wait()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        with pytest.raises(OSError, match="in use"), held_port("127.0.0.1", port):
            pass
        worker.stop()
        assert await keeping == 0


async def test_a_worker_for_which_no_process_can_be_had_is_one_that_ended(caplog):
    no_fd = 2**20
    order = Order(Settings(), Seat(0, no_fd, {}, "socket"))
    with pytest.raises(WorkersFailed, match=f"status {os.EX_OSERR} before it could serve"):
        await WorkerProcess(0, lambda _: order).keep()
    assert "cannot have a process now" in caplog.text


async def test_the_lines_of_a_worker_say_which_one_it_is(worker_at, tmp_path, capfd):
    worker = worker_at(0, tmp_path / "socket", log_level="info")
    keeping = asyncio.create_task(worker.keep())
    await worker.has_served.wait()
    worker.stop()
    assert await keeping == 0
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert lines
    assert {line["worker"] for line in lines} == {0}


async def test_a_key_pressed_at_the_terminal_reaches_no_worker(worker_at, tmp_path):
    worker = worker_at(0, tmp_path / "socket")
    keeping = asyncio.create_task(worker.keep())
    await worker.has_served.wait()
    assert os.getsid(worker.pid) != os.getsid(0)
    worker.stop()
    assert await keeping == 0


async def test_a_worker_whose_supervisor_is_gone_before_it_gives_an_order_ends_in_peace():
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "turnwise.proxy.workers.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert await worker.communicate(b"") == (b"", b"")
    assert worker.returncode == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "", "::1"])
def test_a_held_port_is_free_for_workers_on_every_address_and_takes_no_client(host):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        if host == "::1":
            pytest.skip("this machine has no IPv6")
    with held_port(host, 0) as port:
        for family, _, _, _, address in socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM):
            with socket.socket(family, socket.SOCK_STREAM) as client, pytest.raises(ConnectionRefusedError):
                client.connect(address)
            with socket.socket(family, socket.SOCK_STREAM) as worker:
                worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                worker.bind(address)
                worker.listen()


def test_a_host_that_does_not_exist_cannot_be_held():
    with pytest.raises(OSError), held_port("host.invalid", 0):
        pass


def test_an_order_is_one_line_that_says_the_same_to_the_worker(tmp_path):
    settings = Settings(server=Server(workers=2, host="line\nbreak"))
    order = Order(settings, Seat(1, 5, {0: 6}, str(tmp_path), ()))
    line = msgspec.json.encode(order)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Order) == order
