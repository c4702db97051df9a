"""What is lost, too large or wrong between workers: nothing else suffers."""

import contextlib
import errno

import msgspec
import pytest
from tests.unit.workers.crew import R0, R1, SlowReader, chain

from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.programs.elsewhere import Over
from turnwise.proxy.programs.values import Outcome as ProgramOutcome
from turnwise.proxy.workers import messages
from turnwise.proxy.workers.inbox import MAX_WAITING_BOUNDARIES
from turnwise.proxy.workers.links import MAX_BACKLOG, Link
from turnwise.proxy.workers.messages import MAX_BOUNDARIES, MAX_DATAGRAM_BYTES, Datagram, Kept
from turnwise.proxy.workers.ports import Booking
from turnwise.types import Answer, CallId, Digest, LastAnswer, Outcome, ProgramId, PromptChain, ReplicaId, Usage


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        msgspec.msgpack.encode([1, "x"]),
        msgspec.msgpack.encode([9]),
        msgspec.msgpack.encode([1, [], [[1, "c", "r0", 3, 0.1, [b"d" * 16], [], True]]]),
        msgspec.msgpack.encode([1, [], [[99, "c"]]]),
        b"\x00" * MAX_DATAGRAM_BYTES + b"\x00",
    ],
    ids=["empty", "no msgpack", "http", "wrong type", "nobody", "ends missing", "unknown news", "too long"],
)
def test_a_malformed_datagram_is_ignored_and_counted(crew, data):
    first, second = workers = crew()
    second.links[0]._sender.send(data)
    with second.book():
        workers.settle()
        assert (first.bus.num_malformed, first.bus.num_received, first.load()[0]) == (1, 1, 1)


def test_news_of_a_replica_that_is_not_in_the_settings_are_ignored(crew):
    first, second = crew()
    load = messages.LoadOf(ReplicaId("r9"), messages.Load(1, 1, 1.0), 0.0)
    datagram = Datagram(1, (load,), (Kept("resp_1", ReplicaId("r9")),))
    for data in messages.encode(datagram):
        second.links[0].send(data)
    first.bus.listen()
    assert (first.bus.num_received, len(first.fleet.held)) == (1, 0)


def test_a_chain_too_long_for_a_datagram_is_told_in_part_and_teaches_nothing(crew):
    first, second = workers = crew()
    long = chain(2 * MAX_BOUNDARIES)
    with first.book(chain=long, tokens=200 * MAX_BOUNDARIES):
        pass
    usage = Usage(prompt_tokens=200 * MAX_BOUNDARIES, completion_tokens=1, cached_tokens=0)
    first.bus.settled(CallId("c"), R0, usage, None, is_lesson=True)
    workers.settle()
    assert first.bus.num_oversize == 1
    assert second.bus.num_malformed == 0
    assert second.expects(long) == 100 * MAX_BOUNDARIES


def test_more_news_than_a_datagram_holds_come_in_several(crew):
    first, second = workers = crew()
    names = [bytes([number]) for number in range(1, 9)]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(first.book(chain=chain(MAX_BOUNDARIES, name), tokens=1000, call_id=name.hex()))
        workers.settle()
        assert 2 <= second.bus.num_received <= len(names)
        assert second.load()[:2] == (len(names), 1000 * len(names))
        assert all(second.expects(chain(MAX_BOUNDARIES, name)) for name in names)


def test_the_largest_news_of_one_call_fit_a_datagram():
    ends = tuple(2**40 + number for number in range(MAX_BOUNDARIES))
    said = LastAnswer(MAX_BOUNDARIES - 1, MAX_BOUNDARIES - 1, Answer(2**64 - 1, 2**64 - 1, 2**64 - 1))
    large = PromptChain(tuple(Digest(bytes(16)) for _ in ends), ends, said, Digest(bytes(16)))
    news = messages.booked(Booking(CallId("x" * 64), large, ReplicaId("r" * 64), 2**40, 2**40, 1e9, reports=True))
    (data,) = messages.encode(Datagram(63, (), (news,)))
    assert len(data) <= MAX_DATAGRAM_BYTES


def test_chains_that_wait_for_their_calls_are_bounded(crew):
    first, second = workers = crew()
    count = MAX_WAITING_BOUNDARIES // MAX_BOUNDARIES + 8
    for number in range(count):
        with first.book(chain=chain(MAX_BOUNDARIES, bytes([number])), tokens=1000, call_id=f"c{number}"):
            workers.settle()
    waiting = second.bus._inbox._waiting
    assert len(waiting._chains) == MAX_WAITING_BOUNDARIES // MAX_BOUNDARIES
    assert waiting._num_boundaries == MAX_WAITING_BOUNDARIES


def test_a_sibling_that_does_not_read_is_never_waited_for_and_hears_the_newest_when_it_does(crew):
    first, second = workers = crew()
    link = first.links[1]
    slow = link._sender = SlowReader(link._sender, room=3)
    for number in range(3 * MAX_BACKLOG):
        with first.book(call_id=f"c{number}"):
            first.tell()
    assert link.num_sent == 3
    assert link.num_dropped > 0
    slow.room = 1000
    workers.settle()
    assert not link.has_backlog
    assert second.load() == (0, 0, 0)
    recalled = 1  # of what it missed, the speeds: nothing is held
    assert second.bus.num_received == link.num_sent == 3 + MAX_BACKLOG + 1 + recalled


def test_an_attempt_that_failed_leaves_nothing_to_wait_for(crew):
    first, second = workers = crew()
    with first.book(chain=chain(3), tokens=300) as lease:
        workers.settle()
    assert len(second.bus._inbox._waiting._chains) == 1
    recorder = Recorder(first.index, first.fleet, Metrics(), Audit(), first.clock, first.bus)
    nothing = dict.fromkeys(Outcome.__struct_fields__)
    recorder.failed(None, Outcome(**{**nothing, "call_id": CallId("c"), "placement": lease.placement}))
    workers.settle()
    assert len(second.bus._inbox._waiting._chains) == 0


def test_a_datagram_that_can_never_be_sent_holds_up_no_other():
    sent = []

    class Narrow:
        def send(self, data):
            if len(data) > 3:
                raise OSError(errno.EMSGSIZE, "Message too long")
            sent.append(data)

    link = Link(Narrow())
    for data in (b"one", b"large", b"two"):
        link.send(data)
    assert (sent, link.num_sent, link.num_dropped, link.has_backlog) == ([b"one", b"two"], 2, 1, False)


def test_what_is_too_large_or_cannot_be_written_is_left_out_and_the_rest_is_told(crew):
    first, second = workers = crew()
    with first.book(tokens=1000):
        first.bus.told(Over(ProgramId("p" * MAX_DATAGRAM_BYTES), ProgramOutcome.ASKED))
        first.bus.settled(CallId("c"), R0, Usage(10**30, 1, 0), None, is_lesson=True)
        first.bus.learned(R1, 4321.0)
        workers.settle()
        assert first.bus.num_oversize == 2
        assert second.load() == (1, 1000, 1000)
        assert second.fleet.members[R1].learned_tokens_per_s == 4321.0


def test_a_heartbeat_with_one_item_too_large_is_heard(crew):
    first, second = workers = crew()
    first.bus.told(Over(ProgramId("p" * MAX_DATAGRAM_BYTES), ProgramOutcome.ASKED))
    first.bus.beat()
    workers.settle()
    assert (first.bus.num_oversize, second.bus.num_heard) == (1, 1)
