"""How the body of an endpoint's answer is read: what is waited for, and that nothing is read of the socket meanwhile."""

import asyncio
from types import SimpleNamespace

import pytest

from turnwise.engines.sim import run_virtual
from turnwise.tools_gateway.upstreams.allowance import EACH, NOISE_A_SECOND, Allowance, hold, read_on
from turnwise.tools_gateway.upstreams.intake import PIECE_BYTES, Intake


class Socket:
    """A transport that only knows whether it is read."""

    def __init__(self):
        self.changes, self.is_open = [], True

    def is_reading(self):
        return self.changes[-1:] != ["held"]

    def is_closing(self):
        return not self.is_open

    def pause_reading(self):
        self.changes.append("held")

    def resume_reading(self):
        self.changes.append("read")


class Body:
    """Of an answer whose pieces are all there, for whoever reads."""

    def __init__(self, *pieces):
        self._pieces, self.socket = list(pieces), Socket()
        self.content, self.connection = self, SimpleNamespace(transport=self.socket)
        self.taken_at = []

    def at_eof(self):
        return not self._pieces

    async def read(self, limit):
        self.taken_at.append(asyncio.get_running_loop().time())
        if not self._pieces:
            return b""
        piece, rest = self._pieces[0][:limit], self._pieces[0][limit:]
        self._pieces[:1] = [rest] if rest else []
        return piece


def allowance():
    return Allowance(NOISE_A_SECOND)


async def whole(intake):
    body = b""
    while piece := await intake.read():
        body += piece
    return body


def test_a_large_answer_is_not_waited_for():
    body = Body(b"x" * 4 * 1024 * 1024)
    assert len(run_virtual(_whole_of(body))) == 4 * 1024 * 1024
    assert set(body.taken_at) == {0.0}
    assert not body.socket.changes


def test_others_have_their_turn_between_two_pieces():
    body, num_turns, seen = Body(b"x" * 10 * PIECE_BYTES), 0, []

    async def others():
        nonlocal num_turns
        while True:
            num_turns += 1
            await asyncio.sleep(0)

    async def scenario():
        beside = asyncio.create_task(others())
        intake = Intake(body, allowance())
        while await intake.read():
            seen.append(num_turns)
        beside.cancel()

    run_virtual(scenario())
    assert len(seen) == len(set(seen)) == 10


def test_an_answer_that_comes_byte_by_byte_is_read_no_more_often_than_the_bound_allows():
    body = Body(*[b"x"] * 4096)
    assert run_virtual(_whole_of(body)) == b"x" * 4096
    a_second = NOISE_A_SECOND // EACH
    assert sum(at == 0.0 for at in body.taken_at) == pytest.approx(a_second, abs=1)
    assert body.taken_at[-1] == pytest.approx(4096 / a_second - 1, abs=0.01)


def test_nothing_is_read_of_the_socket_until_talk_is_paid_for():
    body = Body(b"one", b"two", b"three")

    async def scenario():
        intake = Intake(body, allowance())
        assert await intake.read() == b"one"
        intake.weigh(2 * NOISE_A_SECOND - EACH)
        reading = asyncio.create_task(intake.read())
        await asyncio.sleep(0.999)
        assert (len(body.taken_at), body.socket.changes) == (1, ["held"])
        assert await reading == b"two"
        assert await intake.read() == b"three"

    run_virtual(scenario())
    assert body.taken_at[1] == pytest.approx(1.0)
    assert body.socket.changes[:2] == ["held", "read"]


def test_the_end_of_an_answer_is_not_waited_for():
    body = Body(b"only")

    async def scenario():
        intake = Intake(body, allowance())
        await intake.read()
        intake.weigh(10 * NOISE_A_SECOND)
        assert await intake.read() == b""

    run_virtual(scenario())
    assert body.taken_at == [0.0, 0.0]


def test_answers_of_one_upstream_share_what_it_may_say_and_the_first_piece_of_each_is_read_at_once():
    chatty, plain = Body(b"one", b"two"), Body(b"first", b"second")

    async def scenario():
        shared = allowance()
        noisy, quiet = Intake(chatty, shared), Intake(plain, shared)
        await noisy.read()
        noisy.weigh(2 * NOISE_A_SECOND - EACH)
        reading = asyncio.create_task(noisy.read())
        await asyncio.sleep(0)
        assert await quiet.read() == b"first"
        assert await quiet.read() == b"second"
        await reading

    run_virtual(scenario())
    assert plain.taken_at == [0.0, pytest.approx(1.0, abs=0.01)]


def test_who_is_cancelled_while_it_waits_has_read_no_more():
    body = Body(b"one", b"two")

    async def scenario():
        intake = Intake(body, allowance())
        await intake.read()
        intake.weigh(2 * NOISE_A_SECOND)
        reading = asyncio.create_task(intake.read())
        await asyncio.sleep(0.5)
        reading.cancel()
        body.socket.is_open = False
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.sleep(10)

    run_virtual(scenario())
    assert (len(body.taken_at), body.socket.changes) == (1, ["held"])


def test_what_another_holds_is_not_read_on_early():
    socket = Socket()

    async def scenario():
        socket.pause_reading()
        hold(socket, 1.0)
        await asyncio.sleep(2)

    run_virtual(scenario())
    assert socket.changes == ["held"]
    read_on(socket)
    assert socket.changes == ["held", "read"]


async def _whole_of(body):
    return await whole(Intake(body, allowance()))
