"""What workers tell one another of their calls."""

import msgspec
import pytest
from tests.unit.workers.crew import R0, R1, SETTINGS, chain

from turnwise.events import DRAM
from turnwise.index import KvIndex, Report
from turnwise.proxy.workers.inbox import SILENT_S
from turnwise.proxy.workers.messages import MAX_BOUNDARIES, MAX_DATAGRAM_BYTES
from turnwise.settings import IndexSettings
from turnwise.types import Answer, CallId, Digest, LastAnswer, Usage


def test_a_call_of_one_worker_is_load_at_the_others(crew):
    workers = crew(3)
    with workers[0].book(tokens=1000) as lease:
        workers.settle()
        assert [worker.load() for worker in workers] == [(1, 1000, 1000)] * 3
        assert workers[1].fleet.members[R0].recent_assigned_s(workers.now) == pytest.approx(1.005)
        lease.prefill_done(workers.now)
        workers.settle()
        assert [worker.load() for worker in workers] == [(1, 1000, 0)] * 3
    workers.settle()
    assert [worker.load() for worker in workers] == [(0, 0, 0)] * 3


def test_calls_of_several_workers_add_up_and_are_told_once(crew):
    workers = crew(3)
    with workers[0].book(tokens=1000), workers[1].book(tokens=200), workers[2].book(R1, tokens=7):
        workers.settle()
        for worker in workers:
            worker.bus.beat()
        workers.settle()
        assert [worker.load() for worker in workers] == [(2, 1200, 1200)] * 3
        assert [worker.load(R1) for worker in workers] == [(1, 7, 7)] * 3


def test_a_call_waits_behind_what_siblings_have_booked(crew):
    first, second = workers = crew()
    with first.book(tokens=1000):
        workers.settle()
        assert second.book(tokens=300).work_tokens == 1300


def test_what_siblings_send_to_a_replica_fills_its_cache(crew):
    workers = crew()
    members = [worker.fleet.members[R0] for worker in workers]
    for member in members:
        member.capacity_tokens = 1000
    with workers[0].book(tokens=900), workers[0].book(tokens=200):
        workers.settle()
        assert [member.turnover.since for member in members] == [workers.now] * 2


def test_a_lost_datagram_heals_with_the_next(crew):
    first, second = workers = crew()
    with first.book(tokens=1000):
        first.tell()
        second.inbound.recv(MAX_DATAGRAM_BYTES)
        workers.settle()
        assert second.load() == (0, 0, 0)
        with first.book(tokens=10):
            workers.settle()
            assert second.load() == (2, 1010, 1010)


def test_a_lost_end_of_a_call_heals_with_the_heartbeat(crew):
    first, second = workers = crew()
    with first.book():
        workers.settle()
    first.tell()
    second.inbound.recv(MAX_DATAGRAM_BYTES)
    assert second.load()[0] == 1
    first.bus.beat()
    workers.settle()
    assert second.load() == (0, 0, 0)


def test_a_silent_sibling_is_gone_with_its_load_and_comes_back(crew):
    first, second = workers = crew()
    with first.book(tokens=1000):
        workers.settle()
        assert second.bus.num_heard == 1
        workers.now += SILENT_S
        second.bus.beat()
        assert second.load()[0] == 1
        workers.now += 0.1
        second.bus.beat()
        assert (second.bus.num_heard, second.load()) == (0, (0, 0, 0))
        first.bus.beat()
        workers.settle()
        assert (second.bus.num_heard, second.load()[:2]) == (1, (1, 1000))


def test_a_prompt_placed_by_one_worker_is_expected_there_by_the_other(crew):
    first, second = workers = crew()
    prompt = chain(3)
    with first.book(chain=prompt, tokens=300):
        workers.settle()
        longer = chain(4)
        assert second.expects(longer) == first.expects(longer) > 0
        assert second.expects(longer, R1) == 0


def test_a_settled_call_teaches_the_sibling_its_length(crew):
    first, second = workers = crew()
    prompt = chain(3)
    with first.book(chain=prompt, tokens=300):
        pass
    first.bus.settled(CallId("c"), R0, Usage(prompt_tokens=600, completion_tokens=1, cached_tokens=0), None, is_lesson=True)
    workers.settle()
    assert second.expects(prompt) == 599
    assert second.index.stats().num_pending == 0


class Recording(KvIndex):
    """An index that keeps what it is told of calls."""

    def __init__(self):
        super().__init__(IndexSettings())
        self.told = []

    def book(self, call_id, chain, *rest, **more):
        self.told.append((chain, more["reports"]))
        super().book(call_id, chain, *rest, **more)

    def settle(self, call_id, chain, replica, report, now):
        self.told.append(report)
        return super().settle(call_id, chain, replica, report, now)


def test_siblings_hear_what_a_prompt_repeats_and_what_its_answer_says(crew):
    first, second = workers = crew()
    index = Recording()
    second.bus.join(second.fleet, index)
    answer = LastAnswer(1, 1, Answer(2**64 - 1, 5, 0))
    prompt = msgspec.structs.replace(chain(3), answer=answer, template=Digest(b"t" * 16))
    usage, said = Usage(prompt_tokens=600, completion_tokens=7, cached_tokens=96), Answer(1, 0, 2**63)
    for asks_report in (False, True):
        with first.book(chain=prompt, tokens=300, asks_report=asks_report):
            pass
    first.bus.settled(CallId("c"), R0, usage, said, is_lesson=True)
    workers.settle()
    assert index.told == [(prompt, False), (prompt, True), Report(600, 96, 7, said)]


def test_a_chain_told_in_part_does_not_name_an_answer_behind_that_part(crew):
    first, second = workers = crew()
    index = Recording()
    second.bus.join(second.fleet, index)
    for last in (MAX_BOUNDARIES - 1, MAX_BOUNDARIES):
        prompt = msgspec.structs.replace(chain(MAX_BOUNDARIES + 1), answer=LastAnswer(last, last, Answer(1)))
        with first.book(chain=prompt, tokens=300):
            workers.settle()
    assert [told.answer for told, _ in index.told] == [LastAnswer(MAX_BOUNDARIES - 1, MAX_BOUNDARIES - 1, Answer(1)), None]


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_call_that_teaches_nothing_or_was_never_heard_of_leaves_no_trace(crew, is_heard):
    first, second = workers = crew()
    lease = first.book(chain=chain(3), tokens=300)
    if is_heard:
        workers.settle()
    else:
        first.tell()
        second.inbound.recv(MAX_DATAGRAM_BYTES)
    before = second.expects(chain(3))
    usage = Usage(prompt_tokens=600, completion_tokens=1, cached_tokens=0)
    first.bus.settled(lease.placement.replica, R0, usage, None, is_lesson=not is_heard)
    workers.settle()
    assert second.expects(chain(3)) == before


def test_a_learned_speed_and_an_open_breaker_are_everybodys(crew):
    first, second = workers = crew()
    first.bus.learned(R0, 5000.0)
    with first.book(R1):
        pass
    first.fleet.refused(R1, workers.now)
    workers.settle()
    assert second.fleet.prefill_tokens_per_s(second.fleet.members[R0]) == 5000.0
    assert [second.fleet.members[replica].is_routable(workers.now) for replica in (R0, R1)] == [True, False]


def test_what_a_call_told_of_a_slower_medium_is_everybodys(crew):
    first, second = workers = crew()
    for _ in range(3):
        first.bus.loaded(R0, DRAM, 1 / 5000)
    workers.settle()
    speeds = [second.fleet.members[replica].loading.speeds.dram_tokens_per_s for replica in (R0, R1)]
    assert speeds == [pytest.approx(5000.0), SETTINGS.policy.dram_tokens_per_s]


def test_what_is_gathered_late_goes_with_all_else_and_is_asked_for_once(crew):
    first, second = workers = crew()
    asked = []

    def gather():
        asked.append(workers.now)
        first.bus.learned(R1, 4321.0)

    with first.book(tokens=1000):
        first.bus.soon(gather)
        assert asked == []
        workers.settle()
        assert second.load() == (1, 1000, 1000)
        assert second.fleet.members[R1].learned_tokens_per_s == 4321.0
        assert second.bus.num_received == 1
    workers.settle()
    assert asked == [workers.now]
