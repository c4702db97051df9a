import asyncio
import socket

import pytest

from turnwise.engines.sim.virtual_time import VirtualTimeLoop, run_virtual


def test_an_hour_of_sleep_advances_the_clock_by_an_hour():
    async def nap():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run_virtual(nap()) == pytest.approx(3600)


def test_timers_fire_in_the_order_of_their_due_times():
    order = []

    async def note(delay):
        await asyncio.sleep(delay)
        order.append((delay, asyncio.get_running_loop().time()))

    async def main():
        await asyncio.gather(*(note(delay) for delay in (30.0, 0.001, 7.5)))

    run_virtual(main())
    assert [delay for delay, _time in order] == [0.001, 7.5, 30.0]
    assert all(time == pytest.approx(delay) for delay, time in order)


def test_a_timeout_cuts_a_wait_at_its_virtual_deadline():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(60)


def test_a_wait_that_nothing_can_end_is_named_a_deadlock():
    async def main():
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="no timer is set"):
        run_virtual(main())


def test_a_socket_is_refused():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def main():
        await asyncio.get_running_loop().sock_recv(ours, 1)

    with ours, theirs, pytest.raises(RuntimeError, match="sockets"):
        run_virtual(main())


def test_a_thread_is_refused():
    async def main():
        await asyncio.to_thread(print)

    with pytest.raises(RuntimeError, match="threads"):
        run_virtual(main())


def test_every_loop_starts_at_zero():
    loop = VirtualTimeLoop()
    try:
        assert loop.time() == 0.0
    finally:
        loop.close()
