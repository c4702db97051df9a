"""Which responses are kept, told to those that could not hear it in time."""

import asyncio

import pytest
from tests.unit.workers.crew import R0, R1, SlowReader, Worker, continuing

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.errors import ClientFault
from turnwise.events import DRAM
from turnwise.proxy.held import Holder
from turnwise.proxy.workers.bus import ASK_S, LINGER_S
from turnwise.proxy.workers.links import MAX_BACKLOG
from turnwise.proxy.workers.messages import MAX_DATAGRAM_BYTES, Question


def test_a_kept_response_is_known_to_the_sibling_that_is_asked_for_it_at_once(crew):
    first, second = crew()
    second.fleet.members[R0].life = 7  # lives are each worker's own count
    with first.book() as lease:
        lease.keep("resp_1")
        assert run_virtual(sought(second, "resp_1")) == (Holder(R0, 7), 0.0)


def test_a_response_that_is_told_late_is_waited_for_and_an_unknown_one_not_for_long(crew):
    first, second = crew()

    async def told_late():
        with first.book() as lease:
            asyncio.get_running_loop().call_later(LINGER_S / 2, lease.keep, "resp_1")
            return await sought(second, "resp_1")

    assert run_virtual(told_late()) == (Holder(R0, 1), LINGER_S)
    with pytest.raises(ClientFault, match="resp_2"):
        run_virtual(sought(second, "resp_2"))


async def sought(worker, response_id):
    """The holder that a worker finds, and the seconds that it waited for it."""
    await worker.fleet.held.seek(continuing(response_id), worker.bus)
    return worker.fleet.held.holder(continuing(response_id)), asyncio.get_running_loop().time()


def test_a_response_kept_by_a_replica_not_yet_reached_is_held_in_its_first_life(crew):
    first, second = crew()
    second.fleet.members[R0].life = 0
    with first.book() as lease:
        lease.keep("resp_1")
    second.bus.listen()
    assert second.fleet.held.holder(continuing("resp_1")) == Holder(R0, 1)


def test_a_worker_that_is_started_again_is_told_what_one_neighbour_remembers(crew):
    workers = crew(3, successors=(0, 2))
    first, second, third = workers
    for number in range(600):
        for worker in (first, second):
            worker.fleet.held.put(f"resp_{number}", Holder(R0, 1))
    second.fleet.held.put("resp_lost", Holder(R1, 0))
    second.fleet.believe_speed(second.fleet.members[R0], 4000.0)
    second.fleet.members[R0].loading.learn(DRAM, 1 / 3000)
    assert run_virtual(workers.while_settling(first.bus.catch_up())) < ASK_S  # the second worker answers the first,
    first.fleet.held.put("resp_new", Holder(R0, 1))
    assert run_virtual(workers.while_settling(third.bus.catch_up())) < ASK_S  # and the first answers the third
    assert [len(worker.fleet.held) for worker in workers] == [601, 601, 601]
    assert [worker.fleet.members[R0].learned_tokens_per_s for worker in workers] == [4000.0] * 3
    assert [len(worker.fleet.members[R0].loading.taught) for worker in workers] == [1] * 3
    assert "resp_lost" not in dict(third.fleet.held.snapshot())


def test_a_worker_that_knows_nothing_yet_answers_its_neighbour_once_it_does(crew):
    first, second, third = workers = crew(3, successors=(0, 1))
    third.fleet.held.put("resp_1", Holder(R0, 1))
    assert run_virtual(workers.while_settling(first.bus.catch_up(), second.bus.catch_up())) < ASK_S
    assert [len(worker.fleet.held) for worker in workers] == [1, 1, 1]


def test_a_worker_whose_neighbour_is_gone_asks_the_next(crew):
    first, second, third = workers = crew(3, successors=(0,))
    workers.remove(second)
    third.fleet.held.put("resp_1", Holder(R0, 1))
    assert ASK_S < run_virtual(workers.while_settling(first.bus.catch_up())) < 2 * ASK_S
    assert len(first.fleet.held) == 1


def test_a_worker_that_dies_while_it_is_told_is_told_all_in_its_next_life(crew):
    first, second = workers = crew(successors=(0,))
    for number in range(600):
        second.fleet.held.put(f"resp_{number}", Holder(R0, 1))
    first.bus.beat(Question(1, workers.now))
    second.bus.listen()
    for _ in range(3):
        second.tell()
    while True:
        try:
            first.inbound.recv(MAX_DATAGRAM_BYTES)
        except BlockingIOError:
            break
    workers.now += 1
    workers[0] = again = Worker(0, first.inbound, first.links, first.clock, is_successor=True)
    assert run_virtual(workers.while_settling(again.bus.catch_up())) < ASK_S
    assert len(again.fleet.held) == 600


def test_nobody_is_told_anything_while_what_was_told_before_waits(crew):
    first, second = crew()
    second.fleet.held.put("resp_1", Holder(R0, 1))
    link = second.links[0]
    link._sender = SlowReader(link._sender, room=0)
    link.send(b"x")
    first.bus.beat(Question(1, 0.0))
    second.bus.listen()
    second.tell()
    assert second.due == []  # only the retry of what waits goes on


def test_a_kept_response_of_which_the_news_were_dropped_is_told_again(crew):
    first, second = workers = crew()
    link = first.links[1]
    slow = link._sender = SlowReader(link._sender, room=0)
    with first.book() as lease:
        lease.keep("resp_1")
        for _ in range(MAX_BACKLOG + 1):
            first.bus.beat()
    assert link.num_dropped > 0
    slow.room = 1000
    workers.settle()
    assert second.fleet.held.holder(continuing("resp_1")) == Holder(R0, 1)
    assert not link.has_missed


def test_a_worker_that_ends_tells_what_it_has_gathered(crew):
    first, second = workers = crew()
    with first.book():
        workers.settle()
    assert second.load()[0] == 1

    async def end():
        first.bus.close()

    asyncio.run(end())
    second.bus.listen()
    assert second.load() == (0, 0, 0)
