"""Batches that come twice, late, out of order or from another process: what is a restart and what is not."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.feeds.stage import Followed, Source, batch, follow

from turnwise.engines.base import FeedLost, ReplayUnavailable
from turnwise.engines.sim import run_virtual
from turnwise.proxy.following import Loss
from turnwise.proxy.sequence import MAX_GAPS, REMEMBERED, Mark, Sequencer, Standing


def ignored(metrics, why):
    return f'turnwise_feed_ignored_total{{replica="a",why="{why}"}} 1.0' in metrics


async def test_a_batch_that_comes_again_much_later_changes_nothing():
    state, log, metrics = await follow(Source([batch(0), batch(1), batch(2), batch(0), batch(3)], kept=[]))
    assert log == ["stale", "fresh", 0, 1, 2, 3]
    assert state == "live"
    assert ignored(metrics, "repeated")
    assert "turnwise_feed_restarts_total{" not in metrics


async def test_a_batch_that_was_overtaken_is_replayed_in_its_place_and_ignored_when_it_comes():
    source = Source([batch(0), batch(2), batch(1), batch(3)], kept=[])
    source.replay = replay_from(1, [batch(1), batch(2)])
    state, log, metrics = await follow(source)
    assert log == ["stale", "fresh", 0, 1, 2, 3]
    assert state == "live"
    assert ignored(metrics, "repeated")


async def test_a_batch_that_was_overtaken_and_given_up_is_late_and_no_restart():
    source = Source([batch(0), batch(2), batch(1), batch(3)], kept=[])

    async def replay(start):
        if start:
            raise ReplayUnavailable("too old")
        return []

    source.replay = replay
    state, log, metrics = await follow(source)
    assert log == ["stale", "fresh", 0, "drop", "fresh", 2, 3]
    assert state == "partial"
    assert ignored(metrics, "late")
    assert "turnwise_feed_restarts_total{" not in metrics


async def test_another_process_that_says_something_else_at_a_number_heard_is_a_restart():
    state, log, metrics = await follow(Source([batch(0), batch(1), batch(2), batch(0, process=1)], kept=[]))
    assert log == ["stale", "fresh", 0, 1, 2, "drop", "fresh", 0]
    assert state == "live"
    assert 'turnwise_feed_restarts_total{replica="a"} 1.0' in metrics


async def test_a_number_of_long_ago_is_a_restart_whatever_it_says():
    live = [batch(number) for number in range(REMEMBERED + 10)]
    _, log, metrics = await follow(Source([*live, batch(0, process=1)], kept=[]))
    assert log[-3:] == ["drop", "fresh", 0]
    assert 'turnwise_feed_restarts_total{replica="a"} 1.0' in metrics


def test_a_last_batch_that_is_lost_is_asked_for_once_when_the_feed_falls_quiet():
    async def main():
        source = Source([batch(0)], kept=[])
        asked = []

        async def replay(start):
            asked.append(start)
            return [batch(0), batch(1)] if len(asked) > 1 else []

        source.replay = replay
        followed = Followed(source, quiet_s=1.0)
        following = asyncio.create_task(followed.feed.run())
        await asyncio.sleep(60)
        following.cancel()
        await asyncio.wait([following])
        return followed.index.log, asked

    log, asked = run_virtual(main())
    assert log == ["stale", "fresh", 0, 1, "fresh", "stale"]
    assert asked == [0, 0], "it is asked at the start and once after the silence"


def test_an_engine_that_cannot_say_what_was_its_last_batch_loses_nothing_and_is_not_asked_again():
    async def main():
        source = Source([batch(0)], kept=[])
        asked = []

        async def replay(start):
            asked.append(start)
            if len(asked) > 1:
                raise ReplayUnavailable("no answer in time")
            return []

        source.replay = replay
        followed = Followed(source, quiet_s=1.0)
        following = asyncio.create_task(followed.feed.run())
        await asyncio.sleep(5)
        source.live.append(batch(1))
        await asyncio.sleep(60)
        state = followed.member.feed
        following.cancel()
        await asyncio.wait([following])
        return state, followed.index.log, asked

    state, log, asked = run_virtual(main())
    assert (state, log, asked) == ("live", ["stale", "fresh", 0, "stale"], [0, 0])


async def test_an_engine_that_has_its_replay_back_tells_what_was_not_known():
    state, log, _ = await follow(Source([batch(2), FeedLost("cut")]), Source([], kept=[0, 1, 2, 3]))
    assert log == ["stale", "fresh", 2, "stale", "drop", 0, 1, 2, 3, "fresh"]
    assert state == "live"


async def test_each_loss_says_why_something_is_not_known():
    expected = {
        Loss.NO_REPLAY: [Source([batch(3)])],
        Loss.STARTED_LATE: [Source([], kept=[5, 6])],
        Loss.GAP: [Source([FeedLost("cut")], kept=[0]), Source([], kept=[5, 6])],
        None: [Source([], kept=[0, 1])],
    }
    for loss, sources in expected.items():
        followed = Followed(*sources)
        await followed.until_played(sources[-1])
        assert followed.member.following.loss is loss


async def test_a_feed_that_goes_on_from_a_file_takes_only_what_came_after_if_the_engine_agrees():
    source = Source([], kept=[3, 4, 5])
    followed = Followed(source, last=Mark.of(batch(3)))
    followed.member.following.is_restored = True
    assert await followed.until_played(source) == "live"
    assert followed.log == ["stale", 4, 5, "trust", "fresh"]


async def test_a_feed_that_goes_on_from_a_file_forgets_it_if_the_engine_is_another_process():
    source = Source([], kept=[3, 4, 5])
    followed = Followed(source, last=Mark.of(batch(3, process=1)))
    followed.member.following.is_restored = True
    await followed.until_played(source)
    assert followed.log[:2] == ["stale", "drop"]
    assert not followed.member.following.is_restored


async def test_a_feed_that_goes_on_from_a_file_forgets_it_if_the_engine_has_no_replay():
    source = Source([batch(4)])
    followed = Followed(source, last=Mark.of(batch(3)))
    assert await followed.until_played(source) == "partial"
    assert followed.log == ["stale", "drop", "fresh", 4]


@given(st.lists(st.integers(min_value=0, max_value=40), max_size=60))
def test_whatever_order_one_process_is_heard_in_it_is_never_taken_for_another(numbers):
    sequencer = Sequencer()
    for number in numbers:
        standing = sequencer.standing(batch(number))
        if standing is Standing.AHEAD:
            sequencer.give_up(number)
        if standing in (Standing.NEXT, Standing.AHEAD):
            sequencer.take(batch(number))
        else:
            assert standing in (Standing.REPEATED, Standing.LATE)


def test_gaps_that_are_remembered_are_bounded():
    sequencer = Sequencer()
    for number in range(1, 4 * MAX_GAPS, 2):
        sequencer.give_up(number)
        sequencer.take(batch(number))
    assert sequencer.standing(batch(4 * MAX_GAPS - 4)) is Standing.LATE
    assert sequencer.standing(batch(0)) is Standing.RESTARTED


def replay_from(wanted, batches):
    async def replay(start):
        return batches if start == wanted else []

    return replay
