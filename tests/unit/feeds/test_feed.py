"""A feed against a scripted source: what the index is told, in which order, and what state is shown."""

from tests.unit.feeds.stage import Followed, Source, batch, follow

from turnwise.engines.base import FeedLost, ReplayUnavailable
from turnwise.events import BlocksRemoved, BlocksStored, Dropped, EventBatch, Nonsense


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


async def test_a_sequence_that_goes_back_and_says_something_else_is_a_restart():
    state, log, metrics = await follow(Source([batch(7), batch(8), batch(0, process=1), batch(1, process=1)], kept=range(7)))
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


async def test_events_that_were_left_out_are_counted_and_their_replica_is_named_once(caplog):
    torn = Dropped(Nonsense.UNREADABLE, 3, "event 0, BlockStored: expected `int`")
    unknown = Dropped(Nonsense.UNKNOWN_TYPE, 2, "event 1, BlockPinned")
    source = Source([EventBatch(number, 0, (), dropped=(torn, unknown)) for number in range(2)], kept=[])
    followed = Followed(source)
    assert await followed.until_played(source) == "live"
    assert followed.member.following.num_nonsense == 6
    page = followed.metrics.render().decode()
    assert 'turnwise_feed_events_dropped_total{replica="a",why="unreadable"} 6.0' in page
    assert 'turnwise_feed_events_dropped_total{replica="a",why="unknown_type"} 4.0' in page
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "a publishes nonsense, which is left out: event 0, BlockStored: expected `int`"
    ]


async def test_a_removal_that_could_not_be_read_leaves_the_view_partial():
    hidden = Dropped(Nonsense.UNREADABLE, 1, "event 0, BlockRemoved: expected `array`")
    source = Source([batch(0), EventBatch(1, 0, (), dropped=(hidden,), hides_removal=True)], kept=[])
    assert await Followed(source).until_played(source) == "partial"
