"""Discovery before a replica that is played by an adapter, on a virtual clock."""

import asyncio

import httpx
import msgspec
import pytest

from turnwise.engines.base import FeedLost
from turnwise.engines.sim import run_virtual
from turnwise.events import BlocksStored, EventBatch, EventSourceInfo, LoadReport, ReplicaFacts
from turnwise.index import KvIndex
from turnwise.proxy.discovery import Discovery, event_source
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.fleet import Fleet
from turnwise.settings import IndexSettings, Replica, Settings

SOURCE = EventSourceInfo(rank=0, endpoint="tcp://a:5557", replay_endpoint="tcp://a:5558")
LOAD = LoadReport(num_running=1, block_size=16, num_blocks=100, hash_algorithm="sha256", started_at=1.0)
FACTS = ReplicaFacts(models=("base",), event_sources=(SOURCE,), load=LOAD)
STORED = EventBatch(sequence=0, rank=0, events=(BlocksStored(hashes=(1, 2), parent=None, block_size=16),))
STORED_LATER = EventBatch(sequence=1, rank=0, events=(BlocksStored(hashes=(3,), parent=2, block_size=16),))


class Engine:
    """An adapter and its one replica: tests change `facts`, `told` and `is_there`; `opened` lists the feeds' addresses."""

    def __init__(self, facts=FACTS):
        self.facts = facts
        self.told = facts.load
        self.is_there = True
        self.kept = [STORED]
        self.opened = []
        self.replayed_from = []
        self.num_discovered = 0

    async def discover(self, http, base_url):
        await self.models(http, base_url)
        self.num_discovered += 1
        return msgspec.structs.replace(self.facts, load=self.told)

    async def models(self, _http, _base_url):
        if not self.is_there:
            raise httpx.ConnectError("refused")
        return self.facts.models

    async def load(self, _http, _base_url):
        return self.told

    def events(self, info):
        self.opened.append(info.endpoint)
        return Events(self)

    def restart(self, **changes):
        self.told = msgspec.structs.replace(self.told, started_at=self.told.started_at + 1, **changes)
        self.kept = []


class Events:
    def __init__(self, engine):
        self.engine = engine

    async def __aenter__(self):
        if not self.engine.is_there:
            raise FeedLost("nobody there")
        return self

    async def __aexit__(self, *_):
        pass

    async def receive(self):
        await asyncio.Event().wait()

    async def replay(self, start):
        self.engine.replayed_from.append(start)
        return [batch for batch in self.engine.kept if batch.sequence >= start]


class World:
    """A running discovery; `checks(n)` lets n checks pass."""

    def __init__(self, engine):
        self.engine = engine
        settings = Settings(replicas=(Replica(url="http://a:8000", name="a"),))
        self.interval_s = settings.fleet.check_interval_s
        self.index = KvIndex(IndexSettings())
        fleet = Fleet(settings, self.index)
        (self.member,) = fleet.members.values()
        clock = asyncio.get_running_loop().time
        self.discovery = Discovery(settings, fleet, self.index, Metrics(), engine, clock=clock)

    async def __aenter__(self):
        self._task = asyncio.create_task(self.discovery.run())
        await self.checks(1)
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait([self._task])

    async def checks(self, count):
        await asyncio.sleep(count * self.interval_s)

    @property
    def num_blocks(self):
        return self.index.stats().replicas["a"].num_blocks


def play(scene, engine=None):
    async def main():
        async with World(engine or Engine()) as world:
            await scene(world)

    run_virtual(main())


def test_a_replica_that_stays_as_it_is_is_admitted_once_and_its_load_is_kept():
    async def scene(world):
        assert (world.member.is_healthy, world.member.feed, world.num_blocks) == (True, "live", 2)
        world.engine.told = msgspec.structs.replace(LOAD, num_running=7)
        await world.checks(20)
        assert world.member.load.num_running == 7
        assert (world.engine.num_discovered, world.engine.opened) == (1, ["tcp://a:5557"])

    play(scene)


def test_every_replica_was_looked_at_once_it_was_tried():
    async def scene(world):
        assert world.discovery.has_looked.is_set()

    async def before():
        world = World(Engine())
        assert not world.discovery.has_looked.is_set()

    play(scene)
    absent = Engine()
    absent.is_there = False
    play(scene, absent)
    run_virtual(before())


def test_a_replica_that_tells_no_load_stays_healthy():
    async def scene(world):
        for _ in range(20):
            await world.checks(1)
            assert world.member.is_healthy
        assert world.engine.num_discovered == 1

    play(scene, Engine(ReplicaFacts(models=("base",))))


def test_a_load_that_is_not_told_for_once_is_no_news():
    async def scene(world):
        world.engine.told = LoadReport()
        await world.checks(2)
        world.engine.told = LOAD
        await world.checks(2)
        assert (world.engine.num_discovered, world.num_blocks, world.member.feed) == (1, 2, "live")

    play(scene)


def test_an_adapter_loaded_later_is_served_and_nothing_is_forgotten():
    async def scene(world):
        world.engine.facts = msgspec.structs.replace(FACTS, models=("base", "lora"))
        await world.checks(2)
        assert world.member.serves("lora")
        assert (world.num_blocks, world.member.feed, world.engine.opened) == (2, "live", ["tcp://a:5557"])

    play(scene)


def test_another_model_in_place_of_the_first_is_learned_and_what_was_held_is_forgotten():
    async def scene(world):
        world.engine.facts, world.engine.kept = msgspec.structs.replace(FACTS, models=("other",)), []
        await world.checks(2)
        assert world.member.serves("other")
        assert not world.member.serves("base")
        assert (world.num_blocks, world.member.feed) == (0, "live")

    play(scene)


@pytest.mark.parametrize("changes", [{}, {"block_size": 32}, {"num_blocks": 50}])
def test_a_restart_between_two_checks_is_seen_and_what_was_held_is_forgotten(changes):
    async def scene(world):
        world.engine.restart(**changes)
        await world.checks(2)
        assert world.num_blocks == 0
        assert world.member.facts.load == world.engine.told
        assert (world.engine.replayed_from, world.member.feed) == ([0, 0], "live")

    play(scene)


def test_events_that_move_to_another_address_are_followed():
    async def scene(world):
        moved = msgspec.structs.replace(SOURCE, endpoint="tcp://a:6000")
        world.engine.facts = msgspec.structs.replace(FACTS, event_sources=(moved,))
        world.engine.restart()
        await world.checks(2)
        assert world.engine.opened == ["tcp://a:5557", "tcp://a:6000"]

    play(scene)


def test_the_feed_of_a_replica_that_is_not_healthy_is_stale():
    async def scene(world):
        world.engine.is_there = False
        await world.checks(3)
        assert (world.member.is_healthy, world.member.feed) == (False, "stale")
        assert world.index.stats().replicas["a"].is_stale

    play(scene)


def test_a_replica_that_was_away_and_is_the_same_process_keeps_what_it_held():
    engine = Engine()
    engine.kept = [STORED, STORED_LATER]

    async def scene(world):
        engine.is_there = False
        await world.checks(5)
        engine.is_there, engine.kept = True, [STORED_LATER]
        await world.checks(2)
        assert (world.member.is_healthy, world.member.feed, world.num_blocks) == (True, "live", 3)
        assert engine.replayed_from == [0, 1]
        assert not world.index.stats().replicas["a"].is_stale

    play(scene, engine)


def test_a_replica_that_was_away_and_tells_no_start_may_have_restarted():
    async def scene(world):
        assert world.num_blocks == 2
        world.engine.is_there = False
        await world.checks(5)
        world.engine.is_there, world.engine.kept = True, []
        await world.checks(2)
        assert (world.member.is_healthy, world.num_blocks) == (True, 0)

    play(scene, Engine(msgspec.structs.replace(FACTS, load=msgspec.structs.replace(LOAD, started_at=None))))


def test_a_replica_that_restarted_while_it_was_away_is_begun_anew():
    async def scene(world):
        world.engine.is_there = False
        await world.checks(5)
        world.engine.is_there = True
        world.engine.restart()
        await world.checks(2)
        assert (world.num_blocks, world.member.feed) == (0, "live")

    play(scene)


def test_one_failed_check_changes_nothing():
    async def scene(world):
        world.engine.is_there = False
        await world.checks(1)
        assert (world.member.is_healthy, world.member.feed) == (True, "live")
        world.engine.is_there = True
        await world.checks(3)
        assert world.engine.num_discovered == 1

    play(scene)


def test_events_are_listened_to_as_set_else_as_the_replica_says():
    def source(*sources, **settings):
        return event_source(Replica(url="http://a:1", name="a", **settings), ReplicaFacts(models=(), event_sources=sources))

    second = msgspec.structs.replace(SOURCE, rank=1)
    assert source() is None
    assert source(SOURCE) == SOURCE
    assert source(SOURCE, second) is None
    assert source(SOURCE, events="off", events_endpoint="tcp://b:1") is None
    assert source(SOURCE, replay_endpoint="tcp://b:2") == msgspec.structs.replace(SOURCE, replay_endpoint="tcp://b:2")
    assert source(SOURCE, events_endpoint="tcp://b:1") == EventSourceInfo(0, "tcp://b:1", None)
