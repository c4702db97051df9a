"""The index behind a feed that loses, repeats, delays and reorders batches, and replays what is missing."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.word_engine import BLOCK, KINDS, LATE, Engine, chain_of, fleets, hashes, render

from turnwise.events import EventBatch
from turnwise.index import DomainKey, KvIndex, Report
from turnwise.index.lessons import PENDING_TTL_S
from turnwise.settings import IndexSettings
from turnwise.types import SegmentKind


class Wire(msgspec.Struct):
    """Between an engine that publishes and an index: batches arrive late, out of order, twice or never."""

    log: list[EventBatch]
    on_the_way: list[EventBatch]
    next_sequence: int = 0
    num_gaps: int = 0

    def publish(self, events):
        """The engine sends one batch for each event."""
        for event in events:
            batch = EventBatch(sequence=len(self.log), rank=0, events=(event,))
            self.log.append(batch)
            self.on_the_way.append(batch)

    def take(self, index, replica, fates, *, keeps):
        """Let some of what is on the way arrive, each batch as `fates` say, and what is missing by replay.

        As a feed does: a batch that was applied is passed over; what lies before one that was not is replayed first. The engine
        keeps the last `keeps` batches for replay; where that is too few, the index holds nothing and goes on from there.
        """
        arriving, self.on_the_way = self.on_the_way, []
        for batch, fate in zip(arriving, fates, strict=False):
            if fate == "late":
                self.on_the_way.append(batch)
            elif fate != "lost":
                self._arrive(index, replica, batch, keeps)
            if fate == "twice":
                self._arrive(index, replica, batch, keeps)
        self.on_the_way += arriving[len(fates) :]

    def drain(self, index, replica, *, keeps):
        """Let all that is on the way arrive, then one more batch, which shows what was lost."""
        for batch in [*self.on_the_way, EventBatch(sequence=len(self.log), rank=0, events=())]:
            self._arrive(index, replica, batch, keeps)
        self.on_the_way = []
        self.log.append(EventBatch(sequence=len(self.log), rank=0, events=()))

    def _arrive(self, index, replica, batch, keeps):
        if batch.sequence < self.next_sequence:
            return
        missing = self.log[self.next_sequence : batch.sequence]
        if len(missing) > keeps:
            index.drop_blocks(replica)
            self.num_gaps += 1
            missing = []
        for earlier in [*missing, batch]:
            index.apply(replica, earlier, 0.0)
        self.next_sequence = batch.sequence + 1


class World:
    """Two engines, the wires from them, and the index that they lead to."""

    def __init__(self, num_blocks, keeps):
        self.index = KvIndex(IndexSettings(predicted_ttl_s=1.0, unconfirmed_ttl_s=1.0))
        self.engines = {"r0": Engine(num_blocks), "r1": Engine(num_blocks)}
        self.wires = {name: Wire(log=[], on_the_way=[]) for name in self.engines}
        self.keeps = keeps
        for name in self.engines:
            self.index.add_replica(name, DomainKey("m", BLOCK, "x"), num_blocks=10_000, has_events=True)

    def play(self, fleet, fates):
        """Run all calls; returns the prompts whose calls stored a block, each with the replica."""
        systems, calls = fleet
        sessions, stored = {}, []
        fates = iter(fates)
        for number, (session, place, text, chunk, _) in enumerate(calls):
            messages = sessions.setdefault(session, [(SegmentKind.SYSTEM, systems[session % len(systems)])])
            messages.append((KINDS[1 + len(messages) % 3], f"n{number} {text}"))
            replica, tokens = f"r{place}", render(messages)
            blocks = hashes(tokens)
            cached = min(self.engines[replica].cached(blocks), (len(tokens) - 1) // BLOCK)
            events = self.engines[replica].serve(f"c{number}", blocks, chunk)
            wire = self.wires[replica]
            wire.publish(events)
            wire.take(self.index, replica, next(fates, []), keeps=self.keeps)
            self.index.settle(f"c{number}", chain_of(messages), replica, Report(len(tokens), cached * BLOCK), 0.0)
            if any(getattr(event, "call_id", None) for event in events):
                stored.append(list(messages))
        for replica, wire in self.wires.items():
            wire.drain(self.index, replica, keeps=self.keeps)
        return stored


all_fates = st.lists(st.lists(st.sampled_from(["live", "live", "late", "lost", "twice"]), max_size=8), max_size=25)


@given(fleets(), all_fates, st.sampled_from([10_000, 40]))
@settings(deadline=None, max_examples=200)
def test_with_replay_all_that_was_stored_is_taught_and_every_cache_is_known_when_the_feed_is_quiet(fleet, fates, num_blocks):
    world = World(num_blocks, keeps=10_000)
    stored = world.play(fleet, fates)
    stats = world.index.stats()
    assert {name: replica.num_blocks for name, replica in stats.replicas.items()} == {
        name: len(engine.cache) for name, engine in world.engines.items()
    }
    assert stats.num_contradicted == 0
    for messages in stored:
        known = world.index.residency(chain_of(messages), list(world.engines), LATE)
        blocks = hashes(render(messages))
        assert known.is_taught
        assert known.prompt_tokens == len(render(messages))
        for name, engine in world.engines.items():
            expected = min(engine.cached(blocks), (known.prompt_tokens - 1) // BLOCK)
            assert known.hits[name].tokens == expected * BLOCK


@given(fleets(), all_fates)
@settings(deadline=None, max_examples=150)
def test_without_replay_what_is_taught_is_true_and_nothing_waits_for_ever(fleet, fates):
    world = World(10_000, keeps=0)
    stored = world.play(fleet, fates)
    world.index.sweep(PENDING_TTL_S, max_blocks=100_000)
    stats = world.index.stats()
    assert stats.num_pending == stats.num_contradicted == 0
    for messages in stored:
        known = world.index.residency(chain_of(messages), list(world.engines), LATE)
        blocks = hashes(render(messages))
        for name, engine in world.engines.items():
            if known.hits[name].source == "confirmed":
                assert known.hits[name].tokens // BLOCK <= engine.cached(blocks)
