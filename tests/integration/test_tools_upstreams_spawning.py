"""Starting a program beside the loop: the loop goes on, and a start that is given up leaves nothing."""

import asyncio
import os
import select
from pathlib import Path

import pytest
from tests.integration.tools_upstreams_world import BOUND_S, is_alive, turn

from turnwise.tools_gateway.upstreams.spawning import STDIN, STDOUT, spawn

CAT = ("/bin/cat",)


class Gate:
    """Holds a program that starts between its fork and its first instruction."""

    def __init__(self):
        self._said, self._say = os.pipe()
        self._opened, self._open = os.pipe()

    def hold(self):
        """In the child: say who it is, and wait, but not for ever."""
        os.write(self._say, f"{os.getpid()}\n".encode())
        select.select((self._opened,), (), (), BOUND_S)
        os.read(self._opened, 1)

    async def pid(self):
        """Of the child that is held."""
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._said, came.set)
        async with asyncio.timeout(BOUND_S):
            await came.wait()
        loop.remove_reader(self._said)
        return int(os.read(self._said, 100))

    def open(self):
        os.write(self._open, b"x")

    def close(self):
        for descriptor in (self._said, self._say, self._opened, self._open):
            os.close(descriptor)


class Heard(asyncio.SubprocessProtocol):
    """What a program said, and that it ended."""

    def __init__(self):
        self.transport, self.said, self.has_ended = None, b"", asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def pipe_data_received(self, fd, data):
        assert fd == STDOUT
        self.said += data

    def process_exited(self):
        self.has_ended.set()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.close()


def start(heard, gate, command=CAT):
    return asyncio.create_task(spawn(heard, command, env={}, cwd="/", confine=gate.hold))


async def test_the_loop_goes_on_while_a_program_is_started(gate):
    heard = Heard()
    starting = start(heard, gate)
    pid = await gate.pid()
    assert not starting.done()
    gate.open()
    await starting
    assert heard.transport.get_pid() == pid
    pipe = heard.transport.get_pipe_transport(STDIN)
    pipe.write(b"here")
    pipe.close()
    await heard.has_ended.wait()
    assert heard.transport.get_returncode() == 0
    while heard.said != b"here":
        await turn()
    heard.transport.close()
    await turn()


async def test_what_cannot_be_started_raises_and_leaves_no_descriptor(gate):
    gate.open()
    before = num_descriptors()
    with pytest.raises(FileNotFoundError):
        await start(Heard(), gate, ("/no/such/program",))
    assert num_descriptors() == before


async def test_a_program_whose_start_is_cancelled_is_ended_wherever_that_happens(gate):
    await asyncio.to_thread(os.getpid)  # what the loop itself keeps for its threads is open from now on
    before = num_descriptors()
    for num_steps in range(20):
        starting = start(Heard(), gate)
        pid = await gate.pid()
        if num_steps:
            gate.open()
        for _ in range(num_steps * num_steps):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait((starting,))
        if not num_steps:
            gate.open()
        if not starting.cancelled():
            os.kill(pid, 9)
        async with asyncio.timeout(BOUND_S):
            while is_alive(pid):
                await turn()
    async with asyncio.timeout(BOUND_S):
        while num_descriptors() > before:
            await turn()


def num_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))
