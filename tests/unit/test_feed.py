"""A feed against a scripted source: what the index is told, in which order, and what state is shown."""

import asyncio

import pytest

from turnwise.engines.base import ReplayUnavailable
from turnwise.events import BlocksRemoved, BlocksStored, EventBatch, EventSourceInfo
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.feed import Feed
from turnwise.proxy.fleet import Member
from turnwise.settings import PolicySettings, Replica


def batch(sequence: int) -> EventBatch:
    return EventBatch(sequence=sequence, rank=0, events=(BlocksStored(hashes=(sequence,), parent=None, block_size=16),))


class Index:
    """Notes what a feed does to it."""

    def __init__(self):
        self.log = []

    def apply(self, _replica, given, _now):
        self.log.append(given.sequence)

    def drop_blocks(self, _replica):
        self.log.append("drop")

    def set_stale(self, _replica, is_stale):
        self.log.append("stale" if is_stale else "fresh")


class Source:
    """Plays live batches, then waits for ever; replays what it keeps."""

    def __init__(self, live, kept=None):
        self.live = list(live)
        self.kept = kept
        self.played = asyncio.Event()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def receive(self):
        if not self.live:
            self.played.set()
            await asyncio.Event().wait()
        item = self.live.pop(0)
        if isinstance(item, Exception):
            raise item
        return [item]

    async def replay(self, start):
        if self.kept is None:
            raise ReplayUnavailable("none")
        return [batch(sequence) for sequence in self.kept if sequence >= start]


class Adapter:
    def __init__(self, *sources):
        self.sources = list(sources)

    def events(self, _info):
        return self.sources.pop(0)


async def follow(*sources):
    member = Member(Replica(url="http://127.0.0.1:1", name="a"), PolicySettings())
    index, metrics = Index(), Metrics()
    feed = Feed(
        member,
        EventSourceInfo(rank=0, endpoint="x", replay_endpoint=None),
        adapter=Adapter(*sources),
        index=index,
        metrics=metrics,
        clock=lambda: 0.0,
    )
    task = asyncio.create_task(feed.run())
    async with asyncio.timeout(10):
        await sources[-1].played.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return member, index.log, metrics.render().decode()


async def test_a_feed_begins_with_all_that_the_engine_keeps_and_goes_on_live():
    member, log, _ = await follow(Source([batch(2), batch(3)], kept=[0, 1]))
    assert log == ["stale", "drop", 0, 1, "fresh", 2, 3]
    assert member.feed == "live"


async def test_batches_heard_twice_are_applied_once():
    _, log, metrics = await follow(Source([batch(0), batch(1), batch(2)], kept=[0, 1]))
    assert log == ["stale", "drop", 0, 1, "fresh", 2]
    assert "turnwise_feed_restarts_total{" not in metrics


async def test_a_gap_is_filled_by_replay():
    source = Source([batch(0), batch(3)], kept=[])

    async def replay(start):
        return [] if start == 0 else [batch(1), batch(2), batch(3)]

    source.replay = replay
    member, log, metrics = await follow(source)
    assert log == ["stale", "drop", "fresh", 0, 1, 2, 3]
    assert member.feed == "live"
    assert 'turnwise_feed_gaps_total{replica="a"} 1.0' in metrics


async def test_a_gap_that_cannot_be_filled_drops_what_was_known():
    source = Source([batch(0), batch(3)], kept=[])

    async def replay(start):
        if start == 0:
            return []
        raise ReplayUnavailable("too old")

    source.replay = replay
    member, log, _ = await follow(source)
    assert log == ["stale", "drop", "fresh", 0, "drop", "fresh", 3]
    assert member.feed == "partial"


async def test_a_replay_that_begins_too_late_does_not_fill_a_gap():
    source = Source([batch(0), batch(5)], kept=[])

    async def replay(start):
        return [] if start == 0 else [batch(3), batch(4)]

    source.replay = replay
    member, log, _ = await follow(source)
    assert log == ["stale", "drop", "fresh", 0, "drop", "fresh", 5]
    assert member.feed == "partial"


async def test_a_sequence_that_goes_back_is_a_restart():
    member, log, metrics = await follow(Source([batch(7), batch(8), batch(0), batch(1)], kept=[0, 1, 2, 3, 4, 5, 6]))
    assert log == ["stale", "drop", 0, 1, 2, 3, 4, 5, 6, "fresh", 7, 8, "drop", 0, 1]
    assert member.feed == "live"
    assert 'turnwise_feed_restarts_total{replica="a"} 1.0' in metrics


async def test_an_engine_without_replay_is_known_from_here_on():
    member, log, _ = await follow(Source([batch(41), batch(42)]))
    assert member.feed == "partial"
    assert log == ["stale", "drop", "fresh", 41, 42]


async def test_an_engine_whose_buffer_has_lost_its_beginning_is_partial():
    member, log, _ = await follow(Source([batch(12)], kept=[10, 11]))
    assert member.feed == "partial"
    assert log == ["stale", "drop", 10, 11, "fresh", 12]


async def test_a_removal_is_an_event_like_any_other():
    removal = EventBatch(sequence=0, rank=0, events=(BlocksRemoved(hashes=(1,)),))
    _, log, _ = await follow(Source([removal], kept=[]))
    assert log[-1] == 0


async def test_a_source_that_breaks_makes_the_view_stale_and_is_opened_again(monkeypatch):
    monkeypatch.setattr("turnwise.proxy.feed.RECONNECT_S", 0.0)
    member, log, _ = await follow(Source([ValueError("garbage")], kept=[0]), Source([batch(1)], kept=[0]))
    assert log == ["stale", "drop", 0, "fresh", "stale", "stale", "drop", 0, "fresh", 1]
    assert member.feed == "live"
