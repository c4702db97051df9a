"""A feed against a scripted source: what the index is told, in which order, and what state is shown."""

import asyncio

import pytest

from turnwise.engines.base import FeedLost, ReplayUnavailable
from turnwise.events import BlocksRemoved, BlocksStored, EventBatch, EventSourceInfo
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.feed import Feed
from turnwise.proxy.member import Member
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

    def __init__(self, live, kept=None, *, is_there=True):
        self.live = list(live)
        self.kept = kept
        self.is_there = is_there
        self.played = asyncio.Event()

    async def __aenter__(self):
        if not self.is_there:
            raise FeedLost("nobody there")
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


class Followed:
    """A feed that runs in a task, and all that can be seen of it."""

    def __init__(self, *sources):
        self.member = Member(Replica(url="http://127.0.0.1:1", name="a"), PolicySettings())
        self.sources = sources
        self.index = Index()
        self.metrics = Metrics()
        self.feed = Feed(
            self.member,
            EventSourceInfo(rank=0, endpoint="x", replay_endpoint=None),
            adapter=Adapter(*sources),
            index=self.index,
            metrics=self.metrics,
            clock=lambda: 0.0,
            reconnect_s=0.0,
        )

    async def until_played(self, source):
        """Run until `source` has nothing left; returns the state that is shown then."""
        task = asyncio.create_task(self.feed.run())
        async with asyncio.timeout(10):
            await source.played.wait()
        state, self.log = self.member.feed, list(self.index.log)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return state


async def follow(*sources):
    followed = Followed(*sources)
    state = await followed.until_played(sources[-1])
    return state, followed.log, followed.metrics.render().decode()


async def test_a_feed_begins_with_all_that_the_engine_keeps_and_goes_on_live():
    state, log, _ = await follow(Source([batch(2), batch(3)], kept=[0, 1]))
    assert log == ["stale", 0, 1, "fresh", 2, 3]
    assert state == "live"


async def test_batches_heard_twice_are_applied_once():
    _, log, metrics = await follow(Source([batch(0), batch(1), batch(2)], kept=[0, 1]))
    assert log == ["stale", 0, 1, "fresh", 2]
    assert "turnwise_feed_restarts_total{" not in metrics


async def test_a_gap_is_filled_by_replay():
    source = Source([batch(0), batch(3)], kept=[])

    async def replay(start):
        return [] if start == 0 else [batch(1), batch(2), batch(3)]

    source.replay = replay
    state, log, metrics = await follow(source)
    assert log == ["stale", "fresh", 0, 1, 2, 3]
    assert state == "live"
    assert 'turnwise_feed_gaps_total{replica="a"} 1.0' in metrics


async def test_a_gap_that_cannot_be_filled_drops_what_was_known():
    source = Source([batch(0), batch(3)], kept=[])

    async def replay(start):
        if start == 0:
            return []
        raise ReplayUnavailable("too old")

    source.replay = replay
    state, log, _ = await follow(source)
    assert log == ["stale", "fresh", 0, "drop", "fresh", 3]
    assert state == "partial"


async def test_a_replay_that_begins_too_late_does_not_fill_a_gap():
    source = Source([batch(0), batch(5)], kept=[])

    async def replay(start):
        return [] if start == 0 else [batch(3), batch(4)]

    source.replay = replay
    state, log, _ = await follow(source)
    assert log == ["stale", "fresh", 0, "drop", "fresh", 5]
    assert state == "partial"


async def test_a_sequence_that_goes_back_is_a_restart():
    state, log, metrics = await follow(Source([batch(7), batch(8), batch(0), batch(1)], kept=[0, 1, 2, 3, 4, 5, 6]))
    assert log == ["stale", 0, 1, 2, 3, 4, 5, 6, "fresh", 7, 8, "drop", "fresh", 0, 1]
    assert state == "live"
    assert 'turnwise_feed_restarts_total{replica="a"} 1.0' in metrics


async def test_an_engine_without_replay_is_known_from_here_on():
    state, log, _ = await follow(Source([batch(41), batch(42)]))
    assert state == "partial"
    assert log == ["stale", "fresh", 41, 42]


async def test_an_engine_whose_buffer_has_lost_its_beginning_is_partial():
    state, log, _ = await follow(Source([batch(12)], kept=[10, 11]))
    assert state == "partial"
    assert log == ["stale", 10, 11, "fresh", 12]


async def test_a_removal_is_an_event_like_any_other():
    removal = EventBatch(sequence=0, rank=0, events=(BlocksRemoved(hashes=(1,)),))
    _, log, _ = await follow(Source([removal], kept=[]))
    assert log[-1] == 0


async def test_a_restart_seen_whole_is_live_again():
    state, log, _ = await follow(Source([batch(7), batch(0)], kept=[5, 6]))
    assert log == ["stale", 5, 6, "fresh", 7, "drop", "fresh", 0]
    assert state == "live"


async def test_a_source_that_breaks_makes_the_view_stale_and_is_opened_again(caplog):
    state, log, _ = await follow(Source([ValueError("garbage")], kept=[0]), Source([batch(1)], kept=[0]))
    assert log == ["stale", 0, "fresh", "stale", "fresh", 1]
    assert state == "live"
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert ["garbage" in record.getMessage() for record in warned] == [True]
    assert not warned[0].exc_info


async def test_a_connection_lost_and_found_is_caught_up_by_replay():
    lost = Source([batch(2), FeedLost("cut")], kept=[0, 1])
    state, log, metrics = await follow(lost, Source([batch(5)], kept=[1, 2, 3, 4]))
    assert log == ["stale", 0, 1, "fresh", 2, "stale", 3, 4, "fresh", 5]
    assert state == "live"
    assert 'turnwise_feed_gaps_total{replica="a"} 1.0' in metrics


async def test_what_was_partial_is_partial_after_a_lost_connection():
    state, log, _ = await follow(Source([FeedLost("cut")], kept=[7, 8]), Source([], kept=[7, 8]))
    assert log == ["stale", 7, 8, "fresh", "stale", "fresh"]
    assert state == "partial"


async def test_a_lost_connection_with_more_lost_than_is_kept_drops_what_was_known():
    state, log, metrics = await follow(Source([FeedLost("cut")], kept=[0]), Source([], kept=[5, 6]))
    assert log == ["stale", 0, "fresh", "stale", "drop", 5, 6, "fresh"]
    assert state == "partial"
    assert 'turnwise_feed_gaps_total{replica="a"} 1.0' in metrics


async def test_a_lost_connection_to_an_engine_without_replay_drops_what_was_known():
    state, log, _ = await follow(Source([batch(4), FeedLost("cut")]), Source([batch(5)]))
    assert log == ["stale", "fresh", 4, "stale", "drop", "fresh", 5]
    assert state == "partial"


async def test_an_engine_that_restarted_behind_a_lost_connection_is_begun_anew():
    state, log, metrics = await follow(Source([FeedLost("cut")], kept=[0, 1, 2]), Source([], kept=[0]))
    assert log == ["stale", 0, 1, 2, "fresh", "stale", "drop", 0, "fresh"]
    assert state == "live"
    assert 'turnwise_feed_restarts_total{replica="a"} 1.0' in metrics


async def test_an_engine_that_restarted_and_published_more_than_its_predecessor_is_begun_anew():
    source = Source([], kept=[0, 1, 2])
    other = EventBatch(sequence=1, rank=0, events=(BlocksStored(hashes=(99,), parent=None, block_size=16),))

    async def replay(start):
        return [given for given in (batch(0), other, batch(2)) if given.sequence >= start]

    source.replay = replay
    _, log, metrics = await follow(Source([FeedLost("cut")], kept=[0, 1]), source)
    assert log == ["stale", 0, 1, "fresh", "stale", "drop", 0, 1, 2, "fresh"]
    assert 'turnwise_feed_restarts_total{replica="a"} 1.0' in metrics


async def test_an_engine_that_stays_away_is_stale_and_told_once(caplog):
    away = [Source([], is_there=False) for _ in range(5)]
    state, log, _ = await follow(Source([FeedLost("cut")], kept=[0]), *away, Source([], kept=[0]))
    assert log == ["stale", 0, "fresh", "stale", "fresh"]
    assert state == "live"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "feed of a is stale until it is heard again: cut"
    ]


async def test_a_feed_that_is_not_followed_is_stale_and_goes_on_where_it_was():
    first, second = Source([batch(1)], kept=[0]), Source([batch(3)], kept=[0, 1, 2])
    followed = Followed(first, second)
    assert await followed.until_played(first) == "live"
    assert followed.member.feed == "stale"
    assert await followed.until_played(second) == "live"
    assert followed.log == ["stale", 0, "fresh", 1, "stale", "stale", 2, "fresh", 3]
