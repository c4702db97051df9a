"""Calls in flight: what the index said when the engine looked, and what those that wait will do to the others' blocks."""

import pytest
import xxhash

from turnwise.events import BlocksCleared, BlocksRemoved, BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report, prompt_chain
from turnwise.index.calls import MAX_CALLS, UNHEARD_TTL_S, Calls
from turnwise.index.closed_loop import Verdict
from turnwise.settings import IndexSettings
from turnwise.types import BLOCK_HASH_MASK, Hit, HitSource, Prompt, PromptChain, Segment, SegmentKind

BLOCK = 4
NUM_BLOCKS = 30
KEY = DomainKey(model="m", block_size=BLOCK, algorithm="sha256")
SETTINGS = IndexSettings(bytes_per_token=1.0, predicted_ttl_s=600.0, unconfirmed_ttl_s=5.0)
FIRST, SECOND = b"f" * 40, b"s" * 40
"""Two turns of ten blocks each; in these prompts a byte is a token."""


def chain(*parts):
    """The prompt of these parts, in segments of a block: what is predicted goes segment by segment."""
    text = b"".join(parts)
    segments = (Segment(SegmentKind.USER, text[start : start + BLOCK]) for start in range(0, len(text), BLOCK))
    return prompt_chain(Prompt.of(b"m", segments))


def blocks(*parts):
    text = b"".join(parts)
    return tuple(xxhash.xxh3_64_intdigest(text[:end]) & BLOCK_HASH_MASK for end in range(BLOCK, len(text) + 1, BLOCK))


def stored(*parts, call_id, first=0):
    hashes = blocks(*parts)
    return BlocksStored(hashes=hashes[first:], parent=hashes[first - 1] if first else None, block_size=BLOCK, call_id=call_id)


class Engine:
    """The index of one replica, and the calls that it takes; time passes by a tenth of a second with each step."""

    def __init__(self, **facts):
        self.index = KvIndex(SETTINGS)
        self.index.add_replica("a", KEY, **({"num_blocks": NUM_BLOCKS, "has_events": True} | facts))
        self.now = 0.0
        self.num_batches = 0

    def tick(self):
        self.now += 0.1
        return self.now

    def hit(self, *parts):
        return self.index.residency(chain(*parts), ["a"], self.tick()).hits["a"]

    def book(self, call_id, *parts):
        prompt = chain(*parts)
        known = self.index.residency(prompt, ["a"], self.tick())
        self.index.book(call_id, prompt, "a", known.prompt_tokens, self.now, predicted=known.hits["a"])
        return known.hits["a"]

    def publish(self, *events):
        self.index.apply("a", EventBatch(sequence=self.num_batches, rank=0, events=events), self.tick())
        self.num_batches += 1

    def answer(self, call_id, *parts, cached=0):
        tokens = sum(map(len, parts))
        return self.index.settle(call_id, chain(*parts), "a", Report(tokens, cached, 1), self.tick()).finding

    def serve(self, call_id, *parts, cached=0, removed=()):
        """A call that is booked, looked at and answered, all at once."""
        self.book(call_id, *parts)
        self.publish(*removed, stored(*parts, call_id=call_id, first=cached // BLOCK))
        return self.answer(call_id, *parts, cached=cached)

    @property
    def stats(self):
        return self.index.stats().replicas["a"]


@pytest.fixture
def engine():
    """It has answered the first turn of one conversation."""
    engine = Engine()
    engine.serve("c0", FIRST)
    return engine


def confirmed(num_blocks):
    return Hit(num_blocks * BLOCK, HitSource.CONFIRMED)


def test_a_decision_that_the_engine_bears_out_is_right(engine):
    assert engine.hit(FIRST, SECOND) == confirmed(10)
    finding = engine.serve("c1", FIRST, SECOND, cached=40)
    assert (finding.verdict, finding.scheduled_tokens) == (Verdict.RIGHT, 40)


def test_blocks_that_went_before_the_engine_looked_were_evicted_while_waiting(engine):
    assert engine.book("c1", FIRST, SECOND) == confirmed(10)
    engine.publish(BlocksRemoved(hashes=blocks(FIRST)[4:]))
    engine.publish(stored(FIRST, SECOND, call_id="c1", first=4))
    finding = engine.answer("c1", FIRST, SECOND, cached=16)
    assert (finding.verdict, finding.scheduled_tokens) == (Verdict.EVICTED_WHILE_WAITING, 16)
    (told,) = [told for told in engine.stats.loop if told.source is HitSource.CONFIRMED]
    assert (told.evicted_tokens, told.wrong_tokens, told.weight) == (24, 0, 1.0)


def test_removals_of_the_call_itself_come_before_its_stores_and_are_what_it_saw(engine):
    engine.serve("other", b"o" * 40)
    engine.book("c1", FIRST, SECOND)
    engine.publish(BlocksRemoved(hashes=blocks(b"o" * 40)), stored(FIRST, SECOND, call_id="c1", first=10))
    assert engine.answer("c1", FIRST, SECOND, cached=40).verdict is Verdict.RIGHT


def test_blocks_that_came_before_the_engine_looked_arrived_while_waiting(engine):
    engine.publish(BlocksRemoved(hashes=blocks(FIRST)))
    assert engine.book("c1", FIRST, SECOND) == Hit()
    engine.publish(stored(FIRST, call_id="somebody"))
    engine.publish(stored(FIRST, SECOND, call_id="c1", first=10))
    assert engine.answer("c1", FIRST, SECOND, cached=40).verdict is Verdict.ARRIVED_WHILE_WAITING


def test_only_the_first_event_of_a_call_tells_what_its_engine_saw(engine):
    engine.book("c1", FIRST, SECOND)
    engine.publish(stored(FIRST, SECOND[:20], call_id="c1", first=10))
    engine.publish(BlocksRemoved(hashes=blocks(FIRST)))
    engine.publish(stored(FIRST, SECOND, call_id="c1", first=15))
    assert engine.answer("c1", FIRST, SECOND, cached=40).scheduled_tokens == 40


def test_an_event_that_comes_after_the_answer_still_settles_its_call(engine):
    engine.book("c1", FIRST, SECOND)
    assert engine.answer("c1", FIRST, SECOND, cached=0) is None
    engine.publish(BlocksCleared(), stored(FIRST, SECOND, call_id="c1"))
    (told,) = [told for told in engine.stats.loop if told.source is HitSource.CONFIRMED]
    assert (told.num_checked, told.num_right_when_scheduled, told.evicted_tokens) == (1, 1, 40)


def test_a_call_whose_event_never_comes_is_settled_by_the_decision_in_the_end(engine):
    engine.book("c1", FIRST, SECOND)
    assert engine.answer("c1", FIRST, SECOND, cached=0) is None
    engine.index.sweep(engine.now + UNHEARD_TTL_S - 1.0)
    assert sum(told.num_calls for told in engine.stats.loop) == 1
    engine.index.sweep(engine.now + UNHEARD_TTL_S + 1.0)
    (told,) = [told for told in engine.stats.loop if told.source is HitSource.CONFIRMED]
    assert (told.num_checked, told.wrong_tokens) == (0, 40)


def test_a_wholly_cached_call_stores_nothing_and_is_settled_by_the_decision(engine):
    engine.book("c1", FIRST, b"xy")
    finding = engine.answer("c1", FIRST, b"xy", cached=40)
    assert (finding.verdict, finding.scheduled_tokens) == (Verdict.RIGHT, None)


def test_a_prompt_that_was_not_taught_has_no_state_at_scheduling():
    engine = Engine()
    assert engine.serve("c0", FIRST).scheduled_tokens is None


def test_without_events_the_decision_stands():
    engine = Engine(has_events=False)
    engine.book("c0", FIRST)
    assert engine.answer("c0", FIRST).verdict is Verdict.RIGHT
    engine.book("c1", FIRST, SECOND)
    assert engine.answer("c1", FIRST, SECOND, cached=0).verdict is Verdict.WRONG


def test_an_engine_that_counts_nothing_has_no_verdicts(engine):
    engine.book("c1", FIRST, SECOND)
    engine.publish(stored(FIRST, SECOND, call_id="c1", first=10))
    assert engine.index.settle("c1", chain(FIRST, SECOND), "a", Report(), engine.tick()).finding is None
    assert sum(told.num_calls for told in engine.stats.loop) == 1


def test_a_call_that_a_sibling_decided_weighs_the_source_and_counts_as_no_decision(engine):
    engine.index.book("c1", chain(FIRST, SECOND), "a", 80, engine.tick())
    engine.publish(stored(FIRST, SECOND, call_id="c1", first=10))
    assert engine.answer("c1", FIRST, SECOND, cached=40) is None
    assert sum(told.num_calls for told in engine.stats.loop) == 1


def test_a_confirmed_source_that_lies_is_distrusted_falls_back_to_predictions_and_comes_back_when_right():
    engine = Engine(num_blocks=100_000)
    turns = [bytes([number]) * 400 for number in range(60)]
    engine.serve("c0", turns[0])
    number = 0
    while not engine.stats.complaint:
        number += 1
        engine.serve(f"c{number}", *turns[: number + 1])
        assert number < 10
    assert engine.hit(*turns[: number + 2]).source is HitSource.PREDICTED
    while engine.stats.complaint:
        number += 1
        engine.serve(f"c{number}", *turns[: number + 1], cached=400 * number)
        assert number < 50
    hit = engine.hit(*turns[: number + 2])
    assert hit.source is HitSource.CONFIRMED
    assert hit.tokens < 400 * (number + 1)  # still weighed


def test_what_a_weighed_hit_must_still_bring_up_is_weighed_with_it():
    index = KvIndex(IndexSettings())
    index.add_replica("a", DomainKey("m", BLOCK, "sha256"), num_blocks=100, has_events=True)
    holdings = index._replicas["a"]
    assert holdings.loop.confirmed.trust(3000, 0, BLOCK)
    calls = Calls(index._replicas, lambda: None)
    calls.reweigh(holdings)
    hits = {"a": Hit(400, HitSource.CONFIRMED, 200, 100)}
    calls.weigh(PromptChain((), ()), hits)
    weight = holdings.loop.confirmed.weight
    assert 0.0 < weight < 1.0
    assert hits["a"] == Hit(int(400 * weight), HitSource.CONFIRMED, int(200 * weight), int(100 * weight))


def test_a_replica_that_comes_anew_is_not_weighed_by_its_former_life():
    engine = Engine(num_blocks=100_000)
    parts = [bytes([number]) * 400 for number in range(6)]
    for number in range(1, 6):
        engine.serve(f"c{number}", *parts[:number])
    assert engine.stats.complaint
    engine.index.remove_replica("a")
    engine.index.add_replica("a", KEY, num_blocks=100_000, has_events=True)
    engine.serve("new", parts[0])
    assert engine.hit(parts[0], parts[1]) == confirmed(100)


def test_a_failed_call_is_followed_no_longer(engine):
    engine.book("c1", FIRST, SECOND)
    engine.index.forget_call("c1")
    engine.publish(stored(FIRST, SECOND, call_id="c1", first=10))
    assert engine.answer("c1", FIRST, SECOND, cached=40) is None


def test_calls_in_flight_are_bounded_and_the_oldest_is_given_up():
    index = KvIndex(SETTINGS)
    index.add_replica("a", KEY, num_blocks=None, has_events=True)
    prompt = chain(FIRST)
    for number in range(MAX_CALLS + 1):
        index.book(f"c{number}", prompt, "a", 40, 1.0, predicted=Hit())
    assert index.settle("c0", prompt, "a", Report(40, 40), 2.0).finding is None
    assert index.settle("c1", prompt, "a", Report(40, 40), 2.0).finding is not None


def test_of_calls_that_can_tell_nothing_none_is_followed_in_place_of_one_that_can():
    index = KvIndex(SETTINGS)
    index.add_replica("r", KEY, num_blocks=NUM_BLOCKS, has_events=False)
    index.book("own", chain(FIRST), "r", 40, 0.0, predicted=Hit(20, HitSource.PREDICTED))
    for number in range(MAX_CALLS):
        index.book(f"sibling's {number}", chain(SECOND), "r", 40, 0.0)
    lesson = index.settle("own", chain(FIRST), "r", Report(prompt_tokens=40, cached_tokens=20), 1.0)
    assert lesson.finding is not None
    assert lesson.finding.verdict is Verdict.RIGHT


def test_calls_that_wait_evict_what_was_used_longest_ago_before_a_later_call_is_looked_at(engine):
    engine.serve("fill", b"o" * 40)
    assert engine.hit(FIRST, SECOND) == confirmed(10)
    engine.book("big", b"b" * 64)
    assert engine.hit(FIRST, SECOND) == confirmed(4)  # 30 blocks less the other's ten and the sixteen of the big one
    assert engine.hit(b"o" * 40, SECOND) == confirmed(10)


def test_once_the_engine_has_looked_its_events_tell_and_nothing_more_is_expected(engine):
    engine.serve("fill", b"o" * 40)
    engine.book("big", b"b" * 64)
    engine.publish(stored(b"b" * 64, call_id="big"))
    assert engine.hit(FIRST, SECOND) == confirmed(10)


def test_an_answer_or_a_failure_ends_the_wait_of_a_call_without_events(engine):
    engine.serve("fill", b"o" * 40)
    engine.book("big", b"b" * 64)
    engine.index.forget_call("big")
    assert engine.hit(FIRST, SECOND) == confirmed(10)


def test_calls_that_wait_take_no_more_than_they_need(engine):
    engine.serve("fill", b"o" * 40)
    engine.serve("more", b"m" * 40)
    engine.book("small", b"n" * 8)
    assert engine.hit(FIRST, SECOND) == confirmed(8)


def test_what_another_call_that_waits_will_bring_back_is_expected_however_long_it_waits(engine):
    engine.publish(BlocksRemoved(hashes=blocks(FIRST)), stored(b"o" * 8, call_id="somebody"))
    engine.book("c1", FIRST, SECOND)
    engine.now += 10 * SETTINGS.unconfirmed_ttl_s
    assert engine.hit(FIRST, SECOND).tokens >= 40
    engine.publish(stored(FIRST, SECOND, call_id="c1"))
    engine.publish(BlocksRemoved(hashes=blocks(FIRST, SECOND)))
    assert engine.hit(FIRST, SECOND) == Hit()


def test_a_call_of_which_nothing_more_is_heard_waits_only_as_long_as_predictions_live(engine):
    engine.serve("fill", b"o" * 40)
    engine.book("lost", b"b" * 64)
    engine.now += SETTINGS.predicted_ttl_s + 1.0
    engine.index.sweep(engine.now)
    assert engine.hit(FIRST, SECOND) == confirmed(10)


def test_what_engines_report_of_untaught_prompts_moves_no_size_that_they_state():
    engine = Engine(num_blocks=10_000)
    turns = [bytes([number]) * 400 for number in range(40)]
    for number in range(1, 40):
        engine.book(f"c{number}", *turns[:number])
        engine.publish(stored(*turns[:number], call_id="somebody"))  # no stamp of ours: nothing is taught
        engine.answer(f"c{number}", *turns[:number], cached=100)
    assert engine.stats.effective_tokens == 10_000 * BLOCK
    assert (engine.stats.num_silent_restarts, engine.stats.num_unexplained_losses) == (0, 0)


def test_predictions_that_mislead_lose_weight_where_events_come_too():
    engine = Engine(num_blocks=100_000)
    turns = [bytes([number]) * 400 for number in range(40)]
    for number in range(1, 30):
        engine.book(f"c{number}", *turns[:number])
        engine.answer(f"c{number}", *turns[:number], cached=0)
        engine.index.sweep(engine.now + UNHEARD_TTL_S + 1.0)  # its events never come
    assert "predicted claims are distrusted" in engine.stats.complaint
    assert 0 < engine.hit(*turns[:31]).tokens < 0.2 * 29 * 400


def test_predictions_that_mislead_cost_nothing_of_what_events_tell(engine):
    assert engine.hit(FIRST, SECOND) == confirmed(10)
    engine.index.book("other", chain(FIRST, SECOND), "a", 80, engine.tick())
    for number in range(30):
        name = f"c{number}"
        engine.index.book(
            name, chain(FIRST, SECOND), "a", 80, engine.tick(), predicted=Hit(4000, HitSource.PREDICTED, 0, 0, 40)
        )
        engine.index.settle(name, chain(FIRST, SECOND), "a", Report(80, 40, 1), engine.tick())
        engine.index.sweep(engine.now + UNHEARD_TTL_S + 1.0)
    assert engine.stats.complaint
    hit = engine.hit(FIRST, SECOND, b"more")
    assert (hit.source, hit.confirmed_tokens) == (HitSource.PREDICTED, 40)
    assert 40 <= hit.tokens < 60
    assert hit.guessed_tokens == 40


def test_what_was_evicted_while_a_predicted_call_waited_costs_no_weight(engine):
    for number in range(30):
        name = f"c{number}"
        engine.index.book(
            name, chain(FIRST, SECOND), "a", 80, engine.tick(), predicted=Hit(4000, HitSource.PREDICTED, 0, 0, 40)
        )
        engine.publish(stored(FIRST, SECOND, call_id=name, first=10))
        engine.answer(name, FIRST, SECOND, cached=40)
        engine.publish(BlocksRemoved(hashes=blocks(FIRST, SECOND)[10:]))
    assert engine.stats.complaint == ""


def test_what_reports_taught_of_a_stated_size_while_a_feed_was_stale_is_forgotten_when_it_is_back():
    engine = Engine(num_blocks=10_000)
    engine.index.set_stale("a", is_stale=True)
    turns = [bytes([number]) * 4000 for number in range(9)]
    for step in range(36):  # each comes back after eight others, which there should be room for, and is gone
        engine.book(f"c{step}", turns[step % 9])
        engine.answer(f"c{step}", turns[step % 9], cached=0)
    assert engine.stats.effective_tokens < 10_000 * BLOCK
    engine.index.set_stale("a", is_stale=False)
    assert engine.stats.effective_tokens == 10_000 * BLOCK
