"""A feed on a stage: a scripted source, and an index that notes what is done to it."""

import asyncio

import pytest

from turnwise.engines.base import FeedLost, ReplayUnavailable
from turnwise.events import BlocksStored, EventBatch, EventSourceInfo
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.feed import Feed
from turnwise.proxy.member import Member
from turnwise.settings import PolicySettings, Replica


def batch(sequence: int, *, process: int = 0) -> EventBatch:
    """What an engine's `process` publishes under a number: one block."""
    stored = BlocksStored(hashes=(sequence,), parent=None, block_size=16)
    return EventBatch(sequence=sequence, rank=0, events=(stored,), published_at=float(process))


class Index:
    """Notes what a feed does to it."""

    def __init__(self):
        self.log = []

    def apply(self, _replica, given, _now):
        self.log.append(given.sequence)

    def drop_blocks(self, _replica):
        self.log.append("drop")

    def trust(self, _replica):
        self.log.append("trust")

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

    def __init__(self, *sources, index=None, **options):
        self.member = Member(Replica(url="http://127.0.0.1:1", name="a"), PolicySettings())
        self.sources = sources
        self.index = Index() if index is None else index
        self.metrics = Metrics()
        self.feed = Feed(
            self.member,
            EventSourceInfo(rank=0, endpoint="x", replay_endpoint=None),
            adapter=Adapter(*sources),
            index=self.index,
            metrics=self.metrics,
            clock=lambda: 0.0,
            reconnect_s=0.0,
            **options,
        )

    async def until_played(self, source):
        """Run until `source` has nothing left; returns the state that is shown then."""
        task = asyncio.create_task(self.feed.run())
        async with asyncio.timeout(10):
            await source.played.wait()
        state, self.log = self.member.feed, list(getattr(self.index, "log", ()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return state


async def follow(*sources):
    followed = Followed(*sources)
    state = await followed.until_played(sources[-1])
    return state, followed.log, followed.metrics.render().decode()
