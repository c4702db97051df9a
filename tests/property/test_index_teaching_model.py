"""The whole index against synthetic engines that render, tokenise, cache and evict, and against their true caches."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.property.word_engine import BLOCK, KINDS, LATE, Engine, chain_of, fleets, hashes, render

from turnwise.events import EventBatch
from turnwise.index import DomainKey, KvIndex, Report
from turnwise.settings import IndexSettings
from turnwise.types import HitSource, SegmentKind


class World:
    """Two engines and the index that follows them."""

    def __init__(self, num_blocks, **bounds):
        self.index = KvIndex(IndexSettings(predicted_ttl_s=1.0, unconfirmed_ttl_s=1.0, **bounds))
        self.engines = {"r0": Engine(num_blocks), "r1": Engine(num_blocks)}
        for name in self.engines:
            self.index.add_replica(name, DomainKey("m", BLOCK, "x"), num_blocks=10_000, has_events=True)

    def call(self, number, replica, messages, chunk, *, is_late, drops_reasoning=False):
        tokens = render(messages, drops_reasoning=drops_reasoning)
        events = self.engines[replica].serve(f"c{number}", hashes(tokens), chunk)
        batches = [EventBatch(sequence=0, rank=0, events=(event,)) for event in events]
        before, after = (batches[:1], batches[1:]) if is_late else (batches, [])
        for batch in before:
            self.index.apply(replica, batch, 0.0)
        lesson = self.index.settle(f"c{number}", chain_of(messages), replica, Report(len(tokens)), 0.0)
        for batch in after:
            self.index.apply(replica, batch, 0.0)
        return lesson

    def believed(self, messages):
        return self.index.residency(chain_of(messages), list(self.engines), LATE)


def play(world, fleet, **template):
    """Run all calls; yields before each the messages of its session, and whether its last turn was surely taught."""
    systems, calls = fleet
    sessions = {}
    for number, (session, replica, text, chunk, is_late) in enumerate(calls):
        messages = sessions.setdefault(session, [(SegmentKind.SYSTEM, systems[session % len(systems)])])
        taught = list(messages) if len(messages) > 1 else None
        # The number keeps what is added from beginning like anything added before.
        messages.append((KINDS[1 + len(messages) % 3], f"n{number} {text}"))
        yield number, messages, taught
        world.call(number, f"r{replica}", messages, chunk, is_late=is_late, **template)


@given(fleets(), st.sampled_from([10_000, 40]))
@settings(deadline=None, max_examples=200)
def test_a_grown_prompt_is_confirmed_as_deep_as_the_true_cache_holds_its_shorter_form(fleet, num_blocks):
    world = World(num_blocks)
    for _, messages, taught in play(world, fleet):
        if taught is None or not world.believed(taught).is_taught:
            continue
        known = world.believed(messages)
        shorter, true_blocks = hashes(render(taught)), hashes(render(messages))
        for replica, engine in world.engines.items():
            truth = engine.cached(true_blocks[: len(shorter)])
            limit = (known.prompt_tokens - 1) // BLOCK
            assert known.hits[replica].tokens == min(truth, limit) * BLOCK


@given(fleets())
@example(fleet=([""], [(0, 0, "", 1, False)] * 10 + [(1, 0, "", 1, False)]))
@settings(deadline=None, max_examples=150)
def test_with_room_for_all_every_call_that_stores_a_block_is_taught_with_its_exact_length(fleet):
    world = World(10_000)
    seen = []
    for _, messages, _ in play(world, fleet):
        blocks = hashes(render(messages))
        # A call whose full blocks are all cached stores none, so there is no event that could teach it.
        if all(engine.cached(blocks) < len(blocks) for engine in world.engines.values()):
            seen.append(list(messages))
    for messages in seen:
        known = world.believed(messages)
        assert known.is_taught
        assert known.prompt_tokens == len(render(messages))
        true_blocks = hashes(render(messages))
        for replica, engine in world.engines.items():
            expected = min(engine.cached(true_blocks), (known.prompt_tokens - 1) // BLOCK)
            assert known.hits[replica].tokens == expected * BLOCK
    assert world.index.stats().num_contradicted == 0


@given(fleets(), st.booleans())
@settings(deadline=None, max_examples=150)
def test_a_confirmed_hit_exceeds_the_truth_only_by_what_prompts_began_with_in_common(fleet, drops_reasoning):
    world = World(10_000)
    for _, messages, _ in play(world, fleet, drops_reasoning=drops_reasoning):
        known = world.believed(messages)
        true_blocks = hashes(render(messages, drops_reasoning=drops_reasoning))
        for replica, engine in world.engines.items():
            hit = known.hits[replica]
            if hit.source is HitSource.CONFIRMED and not drops_reasoning:
                assert hit.tokens // BLOCK <= engine.cached(true_blocks) + 1


@given(fleets(), st.sampled_from([1024, 2048, 8192]), st.booleans())
@settings(deadline=None, max_examples=150)
def test_evidence_never_passes_its_bytes_and_counts_them_right(fleet, max_bytes, drops_reasoning):
    world = World(10_000, max_evidence_bytes=max_bytes)
    for _ in play(world, fleet, drops_reasoning=drops_reasoning):
        assert world.index.stats().num_evidence_bytes <= max_bytes
    world.index._domains.trim(0)
    assert (world.index.stats().num_evidence_bytes, world.index.stats().num_evidence_entries) == (0, 0)
