"""The event source against publishers on loopback that behave as engines of several versions do, and badly."""

import asyncio
import gc
from contextlib import asynccontextmanager

import msgspec
import pytest
import zmq
import zmq.asyncio

from turnwise.engines.base import FeedLost, ReplayUnavailable
from turnwise.engines.vllm import ZmqEventSource
from turnwise.engines.vllm.events import MAX_DRAIN
from turnwise.events import EventSourceInfo

PATIENCE_S = 10.0
END = b"\xff" * 8


def payload(block=1):
    return msgspec.msgpack.encode([1.0, [{"type": "BlockRemoved", "block_hashes": [block]}], 0])


def number(sequence):
    return sequence.to_bytes(8, "big")


@asynccontextmanager
async def bound(kind):
    socket = zmq.asyncio.Context.instance().socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    try:
        yield socket, f"tcp://127.0.0.1:{port}"
    finally:
        socket.close()


@asynccontextmanager
async def subscribed(topic=""):
    """A publisher and a source that is known to hear it (XPUB tells of the subscription)."""
    async with bound(zmq.XPUB) as (publisher, endpoint), ZmqEventSource(EventSourceInfo(0, endpoint, None, topic)) as source:
        async with asyncio.timeout(PATIENCE_S):
            assert await publisher.recv() == b"\x01" + topic.encode()
            yield publisher, source


async def collect(source, count):
    batches = []
    while len(batches) < count:
        batches += await source.receive()
    return batches


async def test_batches_come_in_order_with_their_sequence_numbers():
    async with subscribed() as (publisher, source):
        for sequence in range(600):
            await publisher.send_multipart([b"kv-events", number(sequence), payload(sequence)])
        batches = await collect(source, 600)
    assert [batch.sequence for batch in batches] == list(range(600))
    assert [batch.events[0].hashes[0] for batch in batches] == list(range(600))


async def test_one_call_gives_a_bounded_number_of_batches():
    async with subscribed() as (publisher, source):
        for sequence in range(3 * MAX_DRAIN):
            await publisher.send_multipart([b"", number(sequence), payload()])
        sizes = []
        while sum(sizes) < 3 * MAX_DRAIN:
            sizes.append(len(await source.receive()))
    assert max(sizes) <= MAX_DRAIN


async def test_hearing_batches_leaves_no_cycles_behind():
    async with subscribed() as (publisher, source):
        for sequence in range(MAX_DRAIN + 1):
            await publisher.send_multipart([b"", number(sequence), payload()])
        heard = asyncio.create_task(collect(source, MAX_DRAIN + 1))
        gc.collect()
        gc.disable()
        try:
            await heard
            for sequence in range(5):
                waiting = asyncio.create_task(source.receive())
                await asyncio.sleep(0)
                await publisher.send_multipart([b"", number(sequence), payload()])
                await waiting
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_other_topics_are_not_heard():
    async with subscribed("kv-events") as (publisher, source):
        await publisher.send_multipart([b"weights", number(0), b"?"])
        await publisher.send_multipart([b"kv-events", number(5), payload()])
        assert [batch.sequence for batch in await source.receive()] == [5]


@pytest.mark.parametrize("broken", [[b"one frame"], [b"", b"short", b""], [b"", number(1), b"\xc1"]])
async def test_a_message_that_cannot_be_read_is_told_and_the_rest_still_comes(broken):
    async with subscribed() as (publisher, source):
        for frames in ([b"", number(0), payload()], broken, [b"", number(2), payload()]):
            await publisher.send_multipart(frames)
        seen, faults = [], 0
        while len(seen) < 2:
            try:
                seen += [batch.sequence for batch in await source.receive()]
            except ValueError:
                faults += 1
    assert (seen, faults) == ([0, 2], 1)


async def test_each_unknown_type_of_event_is_told_once(caplog):
    async with subscribed() as (publisher, source):
        for kinds in (["BlockMoved", "BlockMoved"], ["BlockMoved", "Later"]):
            events = [{"type": kind} for kind in kinds]
            await publisher.send_multipart([b"", number(0), msgspec.msgpack.encode([1.0, events, 0])])
        batches = await collect(source, 2)
    assert [batch.events for batch in batches] == [(), ()]
    told = [record.getMessage() for record in caplog.records]
    assert ["BlockMoved" in message for message in told] == [True, False]
    assert "Later" in told[1]


async def test_a_publisher_that_goes_is_told_once_what_had_arrived_is_given():
    async with subscribed() as (publisher, source):
        for sequence in range(MAX_DRAIN + 1):
            await publisher.send_multipart([b"", number(sequence), payload()])
        first = await source.receive()
        publisher.close(1000)
        heard = first + await collect(source, MAX_DRAIN + 1 - len(first))
        assert [batch.sequence for batch in heard] == list(range(MAX_DRAIN + 1))
        for _ in range(2):
            with pytest.raises(FeedLost, match="is gone"):
                await source.receive()


async def test_a_source_waits_for_its_publisher():
    async with bound(zmq.XPUB) as (publisher, endpoint):
        publisher.unbind(endpoint)
        heard = asyncio.create_task(first_heard(EventSourceInfo(0, endpoint, None)))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    publisher.bind(endpoint)
                    break
                except zmq.ZMQError:  # the port is given back a little later
                    await asyncio.sleep(0)
            await publisher.recv()
            await publisher.send_multipart([b"", number(0), payload()])
            assert [batch.sequence for batch in await heard] == [0]


async def first_heard(info):
    async with ZmqEventSource(info, connect_timeout_s=PATIENCE_S) as source:
        return await source.receive()


async def test_a_publisher_that_never_comes_is_a_lost_feed():
    async with bound(zmq.XPUB) as (publisher, endpoint):
        publisher.unbind(endpoint)
        source = ZmqEventSource(EventSourceInfo(0, endpoint, None), connect_timeout_s=0.05)
        with pytest.raises(FeedLost, match="within"):
            await source.__aenter__()


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:port", "tcp://", "nonsense", "http://127.0.0.1:1"])
async def test_an_address_that_is_none_is_a_lost_feed_and_no_replay(endpoint):
    source = ZmqEventSource(EventSourceInfo(0, endpoint, endpoint))
    with pytest.raises(FeedLost, match="cannot be connected to"):
        await source.__aenter__()
    with pytest.raises(ReplayUnavailable, match="cannot be asked"):
        await source.replay(0)


async def replayed(answers, start=2):
    """What a source makes of a router's answers; gives the start that was asked for, too."""
    async with bound(zmq.ROUTER) as (router, endpoint):
        source = ZmqEventSource(EventSourceInfo(0, "tcp://127.0.0.1:1", endpoint), replay_timeout_s=PATIENCE_S)
        asked = asyncio.create_task(source.replay(start))
        client, _empty, begin = await router.recv_multipart()
        for frames in answers:
            await router.send_multipart([client, b"", *frames])
        return int.from_bytes(begin, "big"), await asked


@pytest.mark.parametrize(
    "answers",
    [
        [[b"kv-events", number(2), payload(7)], [b"kv-events", number(3), payload(8)], [b"", END, b""]],
        [[number(2), payload(7)], [number(3), payload(8)], [END, b""]],
    ],
    ids=["with topic", "without topic"],
)
async def test_a_replay_is_read_up_to_its_end_mark(answers):
    begin, batches = await replayed(answers)
    assert begin == 2
    assert [(batch.sequence, batch.events[0].hashes[0]) for batch in batches] == [(2, 7), (3, 8)]


async def test_a_replay_of_nothing_is_empty():
    assert await replayed([[b"", END, b""]]) == (2, [])


async def test_a_replay_that_cannot_be_read_is_unavailable():
    with pytest.raises(ReplayUnavailable, match="batch 2"):
        await replayed([[b"", number(2), b"\xc1"]])


async def test_a_replica_without_replay_endpoint_says_so():
    with pytest.raises(ReplayUnavailable, match="no replay endpoint"):
        await ZmqEventSource(EventSourceInfo(0, "tcp://127.0.0.1:1", None)).replay(0)


async def test_a_replay_without_its_end_mark_is_unavailable():
    async with bound(zmq.ROUTER) as (router, endpoint):
        source = ZmqEventSource(EventSourceInfo(0, "tcp://127.0.0.1:1", endpoint), replay_timeout_s=0.2)
        asked = asyncio.create_task(source.replay(0))
        client, _empty, _begin = await router.recv_multipart()
        await router.send_multipart([client, b"", b"", number(0), payload()])
        with pytest.raises(ReplayUnavailable, match="no whole answer"):
            await asked
