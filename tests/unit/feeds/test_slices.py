"""Batches in pieces: what is applied between two turns of the loop, and that nothing is lost by it."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.feeds.stage import Followed, Source

from turnwise.events import BlocksCleared, BlocksRemoved, BlocksStored, Dropped, EventBatch, Nonsense
from turnwise.index import DomainKey, KvIndex
from turnwise.proxy.slices import MAX_BLOCKS, num_blocks, pieces
from turnwise.settings import IndexSettings

hashes = st.integers(min_value=0, max_value=700).map(lambda count: tuple(range(count)))
events = st.one_of(
    st.builds(
        BlocksStored, hashes=hashes, parent=st.none(), block_size=st.just(16), call_id=st.just("tw-1"), head_key=st.just(7)
    ),
    st.builds(BlocksRemoved, hashes=hashes),
    st.just(BlocksCleared()),
)


def flat(event_tuple):
    """What events do, block by block: each stored one with its parent and all else that is said of it."""
    done = []
    for event in event_tuple:
        if isinstance(event, BlocksStored):
            parent = event.parent
            for position, block in enumerate(event.hashes):
                done.append(("stored", block, parent, event.call_id, event.medium, event.head_key if not position else None))
                parent = block
        elif isinstance(event, BlocksRemoved):
            done += [("removed", block) for block in event.hashes]
        else:
            done.append("cleared")
    return done


@given(st.lists(events, max_size=5).map(tuple))
def test_pieces_say_what_the_batch_says_and_none_is_too_large(given_events):
    batch = EventBatch(3, 1, given_events)
    parts = list(pieces(batch))
    assert [step for part in parts for step in flat(part.events)] == flat(given_events)
    assert max(map(num_blocks, parts)) <= MAX_BLOCKS
    assert {(part.sequence, part.rank) for part in parts} == {(3, 1)}


def test_what_could_not_be_read_is_said_with_the_last_piece():
    dropped = (Dropped(Nonsense.UNREADABLE, 1, "x"),)
    parts = list(pieces(EventBatch(0, 0, (BlocksRemoved(tuple(range(300))),), dropped=dropped, hides_removal=True)))
    assert [(part.dropped, part.hides_removal) for part in parts] == [((), False)] * 2 + [(dropped, True)]


class CountingIndex:
    """Counts the blocks that are applied between two turns of the loop."""

    def __init__(self):
        self.most = self.now = 0

    def apply(self, _replica, batch, _time):
        if not self.now:
            asyncio.get_running_loop().call_soon(self.close_turn)
        self.now += num_blocks(batch)
        self.most = max(self.most, self.now)

    def close_turn(self):
        self.now = 0

    def drop_blocks(self, _replica):
        pass

    def set_stale(self, _replica, _is_stale):
        pass


def stored(sequence, count, first=0):
    return EventBatch(sequence, 0, (BlocksStored(tuple(range(first, first + count)), None, 16),))


async def test_at_most_128_blocks_are_applied_between_two_turns_of_the_loop():
    sizes = [1, 1, 200, 128, 128, 0, 5, 4000, 1] + [1] * 500 + [127, 127]
    batches = [stored(number, size) for number, size in enumerate(sizes)]
    batches.append(EventBatch(len(sizes), 0, (BlocksRemoved(tuple(range(1000))), BlocksCleared())))
    for kept, live in ((0, len(batches)), (len(batches), 0)):
        source = Source(batches[kept:])

        async def replay(start, kept=kept):
            return batches[start:kept]

        source.replay = replay
        index = CountingIndex()
        await Followed(source, index=index).until_played(source)
        assert index.most == MAX_BLOCKS, f"{kept} replayed, {live} live"


async def test_a_batch_in_pieces_leaves_the_index_as_one_that_is_whole():
    batches = [stored(0, 1000), EventBatch(1, 0, (BlocksRemoved(tuple(range(600, 1000))),))]
    key = DomainKey("m", 16, "sha256")
    source = Source(batches, kept=[])
    index = KvIndex(IndexSettings())
    index.add_replica("a", key, num_blocks=2000, has_events=True)
    await Followed(source, index=index).until_played(source)
    whole = KvIndex(IndexSettings())
    whole.add_replica("a", key, num_blocks=2000, has_events=True)
    for batch in batches:
        whole.apply("a", batch, 0.0)
    assert index.stats().replicas["a"].num_blocks == whole.stats().replicas["a"].num_blocks == 600


async def test_a_feed_that_is_cancelled_within_a_batch_begins_anew():
    source = Source([stored(0, 4000)], kept=[])
    again = Source([], kept=[])

    class Cancelling(CountingIndex):
        """Cancels the feed once a part of the batch is in it."""

        dropped = 0

        def apply(self, replica, batch, time):
            super().apply(replica, batch, time)
            if self.most == MAX_BLOCKS and not self.dropped:
                following.cancel()

        def drop_blocks(self, _replica):
            self.dropped += 1

    index = Cancelling()
    followed = Followed(source, again, index=index)
    following = asyncio.create_task(followed.feed.run())
    await asyncio.wait([following])
    assert followed.feed.mark is None
    await followed.until_played(again)
    assert index.dropped == 1


async def test_after_all_blocks_are_cleared_with_the_next_call_only_what_it_stores_is_held():
    live = [stored(0, 300), EventBatch(1, 0, (BlocksCleared(), BlocksStored((7, 8), None, 16)))]
    source = Source(live, kept=[])
    index = KvIndex(IndexSettings())
    index.add_replica("a", DomainKey("m", 16, "sha256"), num_blocks=2000, has_events=True)
    followed = Followed(source, index=index)
    assert await followed.until_played(source) == "live"
    assert index.stats().replicas["a"].num_blocks == 2
