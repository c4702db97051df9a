"""The face of the index, state by state; in these prompts a byte is a token and a block is four.

One file above 300 lines: all states of degradation are told with one small engine, side by side.
"""

import pytest
import xxhash

from turnwise.events import BlocksCleared, BlocksRemoved, BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report, prompt_chain
from turnwise.index.holdings import STALE_WEIGHT
from turnwise.index.lessons import MAX_PENDING, MAX_STAMPS, PENDING_TTL_S
from turnwise.settings import IndexSettings
from turnwise.types import BLOCK_HASH_MASK, Hit, HitSource, Prompt, Segment, SegmentKind

BLOCK = 4
KEY = DomainKey(model="m", block_size=BLOCK, algorithm="sha256")
SETTINGS = IndexSettings(bytes_per_token=1.0, predicted_ttl_s=600.0, unconfirmed_ttl_s=5.0)
SYSTEM = b"you are a helpful assistant. "


def chain(*parts, root=b"m"):
    return prompt_chain(Prompt.of(root, (Segment(SegmentKind.USER, part) for part in parts)))


def blocks(*parts, seed=0):
    text = b"".join(parts)
    return tuple(xxhash.xxh3_64_intdigest(text[:end], seed) & BLOCK_HASH_MASK for end in range(BLOCK, len(text) + 1, BLOCK))


def stored(*parts, call_id=None, first=0, last=None, seed=0, **more):
    """The event of an engine that stores blocks `first` to `last` of a prompt."""
    hashes = blocks(*parts, seed=seed)
    return BlocksStored(
        hashes=hashes[first:last], parent=hashes[first - 1] if first else None, block_size=BLOCK, call_id=call_id, **more
    )


def batch(*events):
    return EventBatch(sequence=0, rank=0, events=events)


def length(*parts):
    return sum(map(len, parts))


def confirmed(num_blocks):
    return Hit(tokens=num_blocks * BLOCK, source=HitSource.CONFIRMED)


def predicted(num_blocks):
    return Hit(tokens=num_blocks * BLOCK, source=HitSource.PREDICTED)


def index_of(*names, settings=SETTINGS, key=KEY, **facts):
    index = KvIndex(settings)
    for name in names:
        index.add_replica(name, key, **({"num_blocks": 1000, "has_events": True} | facts))
    return index


def settle(index, call_id, *parts, replica="a", cached=None, usage=True, now=1.0, root=b"m"):
    return index.settle(
        call_id,
        chain(*parts, root=root),
        replica,
        Report(length(*parts) if usage else None, cached),
        now,
    )


def hit(index, *parts, replica="a", now=1000.0, root=b"m"):
    """What one replica holds; by default so late that no prediction lives."""
    return index.residency(chain(*parts, root=root), [replica], now).hits[replica]


ASK, REPLY, NEXT = b"what is the weather? ", b"it is sunny ", b"and tomorrow? "
ASKED = length(SYSTEM, ASK) // BLOCK


@pytest.fixture
def taught():
    """Replicas a and b; a has answered one call."""
    index = index_of("a", "b")
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1")), 0.5)
    assert settle(index, "c1", SYSTEM, ASK).is_taught
    return index


def test_a_grown_prompt_is_confirmed_where_its_shorter_form_was_answered_and_nowhere_else(taught):
    known = taught.residency(chain(SYSTEM, ASK, REPLY, NEXT), ["a", "b"], 1000.0)
    assert known.hits == {"a": confirmed(ASKED), "b": Hit()}
    assert known.is_taught
    assert known.prompt_tokens == length(SYSTEM, ASK, REPLY, NEXT)


def test_a_whole_prompt_that_comes_again_leaves_its_last_token_to_compute():
    index = index_of("a")
    question = b"x" * 40
    index.apply("a", batch(stored(question, call_id="c1")), 0.5)
    settle(index, "c1", question)
    assert hit(index, question) == confirmed(9)


def test_asking_again_tells_of_every_change_in_between():
    index, asked, prompt = index_of("a", "b"), ("a", "b"), chain(SYSTEM, ASK)
    half = ASKED // 2

    def held(now=1000.0):
        return [index.residency(prompt, asked, now).hits[name] for name in asked]

    assert held() == [Hit(), Hit()]
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1")), 0.5)
    assert held() == [Hit(), Hit()]
    assert settle(index, "c1", SYSTEM, ASK).is_taught
    assert held() == [confirmed(ASKED), Hit()]
    index.apply("b", batch(stored(SYSTEM, ASK, last=half)), 1.0)
    assert held() == [confirmed(ASKED), confirmed(half)]
    index.set_stale("a", is_stale=True)
    assert held() == [Hit(), confirmed(half)]
    index.set_stale("a", is_stale=False)
    index.apply("b", batch(BlocksCleared(), stored(SYSTEM, ASK, last=half + 1)), 2.0)
    assert held() == [confirmed(ASKED), confirmed(half + 1)]
    index.drop_blocks("a")
    assert held() == [Hit(), confirmed(half + 1)]
    index.book("c0", prompt, "a", length(SYSTEM, ASK), 900.0)
    assert held() == [predicted(ASKED), confirmed(half + 1)]
    index.apply("b", batch(stored(b"tokens", group=1)), 901.0)
    assert held() == [predicted(ASKED), Hit()]
    index.remove_replica("a")
    assert held() == [Hit(), Hit()]
    index.add_replica("a", KEY, num_blocks=1000, has_events=True)
    index.apply("a", batch(stored(SYSTEM, ASK)), 902.0)
    assert held() == [confirmed(ASKED), Hit()]


def test_what_one_replica_taught_tells_of_every_replica_of_its_domain(taught):
    taught.apply("b", batch(stored(SYSTEM, b"something else", call_id="other")), 2.0)
    assert hit(taught, SYSTEM, ASK, replica="b") == confirmed(len(SYSTEM) // BLOCK)


@pytest.mark.parametrize("num_bytes", [1, 3, 4, 5, 8, 30])
def test_what_was_taught_of_another_prompt_changes_nothing(num_bytes):
    """Of a domain where nothing was taught, residency is told by a shorter way."""
    other, shared, own = b"something else altogether", b"s" * num_bytes, b"o" * num_bytes
    answers = []
    for has_events in (False, True):
        index = index_of("a", "b", "c")
        if has_events:
            index.apply("c", batch(stored(other, call_id="other")), 1.0)
        assert settle(index, "other", other, replica="c").is_taught == has_events
        for prompt, replica, now in (((shared, own), "a", 2.0), ((shared, b"x"), "b", 3.0), ((shared,), "c", 500.0)):
            index.book("c0", chain(*prompt), replica, length(*prompt), now)
        asked = [(shared,), (shared, own), (shared, own, b"more"), (shared, b"x"), (b"y", own)]
        ages = (4.0, 602.5, 1000.0)
        answers.append([index.residency(chain(*prompt), ["c", "b", "a", "unknown"], now) for prompt in asked for now in ages])
    assert answers[0] == answers[1]


def test_an_untaught_prompt_is_as_long_as_its_bytes_say():
    index = index_of("a")
    known = index.residency(chain(SYSTEM), ["a"], 0.0)
    assert (known.prompt_tokens, known.is_taught, known.hits) == (len(SYSTEM), False, {"a": Hit()})


def test_a_prompt_that_no_dialect_read_has_no_hits():
    index = index_of("a")
    known = index.residency(None, ["a", "unknown"], 0.0)
    assert (known.prompt_tokens, known.is_taught, known.hits) == (0, False, {"a": Hit(), "unknown": Hit()})
    index.book("c0", None, "a", 10, 0.0)
    assert index.settle("c1", None, "a", Report(5, 0), 1.0).is_taught is False


def test_a_chunked_prefill_is_taught_from_all_its_events():
    index = index_of("a")
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", last=5)), 0.1)
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", first=5)), 0.2)
    assert settle(index, "c1", SYSTEM, ASK).is_taught
    assert hit(index, SYSTEM, ASK, NEXT) == confirmed(ASKED)


def test_events_that_come_after_the_answer_still_teach():
    index = index_of("a")
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", last=5)), 0.1)
    assert settle(index, "c1", SYSTEM, ASK).is_pending
    assert index.stats().num_pending == 1
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", first=5)), 1.1)
    assert (index.stats().num_pending, index.stats().num_taught) == (0, 1)
    assert hit(index, SYSTEM, ASK, NEXT) == confirmed(ASKED)


def test_two_calls_that_race_on_one_cold_prefix_both_teach():
    index = index_of("a")
    shared = len(SYSTEM) // BLOCK
    index.apply(
        "a",
        batch(
            stored(SYSTEM, ASK, call_id="c1", last=3),
            stored(SYSTEM, NEXT, call_id="c2", first=3, last=shared),
            stored(SYSTEM, NEXT, call_id="c2", first=shared),
            stored(SYSTEM, ASK, call_id="c1", first=shared),
        ),
        0.1,
    )
    assert settle(index, "c1", SYSTEM, ASK).is_taught
    assert settle(index, "c2", SYSTEM, NEXT).is_taught
    assert hit(index, SYSTEM, b"!") == confirmed(shared)


def test_equal_prompts_that_race_teach_the_one_whose_blocks_the_other_stored_at_last():
    index = index_of("a")
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", last=3), stored(SYSTEM, ASK, call_id="c2", first=3)), 0.1)
    assert settle(index, "c1", SYSTEM, ASK).is_pending
    assert settle(index, "c2", SYSTEM, ASK).is_taught
    index.sweep(1.0 + PENDING_TTL_S)
    assert (index.stats().num_taught, index.stats().num_untaught) == (2, 0)


def test_blocks_decoded_beyond_the_prompt_are_not_the_prompts():
    index = index_of("a")
    index.apply("a", batch(stored(SYSTEM, ASK, b"an answer of many words", call_id="c1")), 0.1)
    assert settle(index, "c1", SYSTEM, ASK).is_taught
    assert hit(index, SYSTEM, ASK, NEXT) == confirmed(ASKED)


def test_a_turn_that_finds_its_decoded_predecessor_cached_is_taught_through_it():
    index = index_of("a")
    index.apply("a", batch(stored(SYSTEM, ASK, REPLY, call_id="c1")), 0.1)
    settle(index, "c1", SYSTEM, ASK)
    done = length(SYSTEM, ASK, REPLY) // BLOCK
    index.apply("a", batch(stored(SYSTEM, ASK, REPLY, NEXT, call_id="c2", first=done)), 1.1)
    assert settle(index, "c2", SYSTEM, ASK, REPLY, NEXT, now=2.0).is_taught
    assert hit(index, SYSTEM, ASK, REPLY, NEXT, b"more") == confirmed(length(SYSTEM, ASK, REPLY, NEXT) // BLOCK)


def test_a_wholly_cached_prompt_is_taught_by_a_shorter_form_that_reaches_as_far(taught):
    grown = b"."
    assert length(SYSTEM, ASK, grown) // BLOCK == ASKED
    assert settle(taught, "c2", SYSTEM, ASK, grown).is_taught
    assert hit(taught, SYSTEM, ASK, grown, NEXT) == confirmed(ASKED)


def test_a_wholly_cached_prompt_that_nothing_taught_waits_and_is_given_up():
    index = index_of("a")
    index.apply("a", batch(stored(SYSTEM, ASK)), 0.1)
    assert settle(index, "c1", SYSTEM, ASK).is_pending
    index.sweep(PENDING_TTL_S)
    assert index.stats().num_pending == 1
    index.sweep(1.0 + PENDING_TTL_S)
    assert (index.stats().num_pending, index.stats().num_untaught) == (0, 1)


def test_without_usage_the_chain_alone_teaches_and_its_cut_is_an_estimate():
    index = index_of("a")
    index.apply("a", batch(stored(SYSTEM, ASK, REPLY, call_id="c1")), 0.1)
    assert settle(index, "c1", SYSTEM, ASK, usage=False).is_taught
    assert hit(index, SYSTEM, ASK, NEXT) == predicted(ASKED)
    assert not index.residency(chain(SYSTEM, ASK, NEXT), ["a"], 1000.0).is_taught


def test_a_wholly_cached_prompt_is_not_taught_by_an_estimate():
    index = index_of("a")
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1")), 0.1)
    settle(index, "c1", SYSTEM, ASK, usage=False)
    assert settle(index, "c2", SYSTEM, ASK).is_pending


def test_without_a_stamp_predictions_live_long_though_events_come():
    index = index_of("a")
    index.book("c0", chain(SYSTEM, ASK), "a", length(SYSTEM, ASK), 0.0)
    index.apply("a", batch(stored(SYSTEM, ASK)), 0.5)
    assert settle(index, "c1", SYSTEM, ASK).is_pending
    assert hit(index, SYSTEM, ASK, NEXT, now=500.0) == predicted(ASKED)
    assert hit(index, SYSTEM, ASK, NEXT, now=601.0) == Hit()


def test_without_events_one_report_of_a_loss_is_not_believed_of_other_prompts():
    index = index_of("a", has_events=False)
    index.book("c0", chain(SYSTEM, ASK), "a", length(SYSTEM, ASK), 0.0)
    settle(index, "c1", SYSTEM, ASK, cached=0, now=1.0)
    index.book("c0", chain(SYSTEM, NEXT), "a", length(SYSTEM, NEXT), 2.0)
    assert hit(index, SYSTEM, ASK, REPLY, now=3.0) == predicted(ASKED)
    assert settle(index, "c2", SYSTEM, NEXT, cached=0, now=3.0).is_taught is False
    assert hit(index, SYSTEM, ASK, REPLY, now=3.0) == predicted(ASKED)
    assert hit(index, SYSTEM, NEXT, REPLY, now=3.0) == predicted(length(SYSTEM, NEXT) // BLOCK)
    assert index.stats().num_untaught == 2


def test_a_booking_is_predicted_at_once_and_gives_way_to_events_after_a_short_while(taught):
    taught.book("c0", chain(SYSTEM, ASK), "b", length(SYSTEM, ASK), 10.0)
    taught.apply("b", batch(stored(b"another prompt")), 10.1)
    assert hit(taught, SYSTEM, ASK, NEXT, replica="b", now=14.0) == predicted(ASKED)
    assert hit(taught, SYSTEM, ASK, NEXT, replica="b", now=16.0) == Hit()


def test_a_replica_whose_events_never_came_keeps_its_predictions(taught):
    taught.book("c0", chain(SYSTEM, ASK), "b", length(SYSTEM, ASK), 10.0)
    assert hit(taught, SYSTEM, ASK, NEXT, replica="b", now=300.0) == predicted(ASKED)


def test_a_prediction_of_a_part_not_yet_taught_lives_on_where_all_that_was_taught_is_still_held(taught):
    taught.book("c0", chain(SYSTEM, ASK, REPLY, NEXT), "a", length(SYSTEM, ASK, REPLY, NEXT), 10.0)
    long_after = length(SYSTEM, ASK, REPLY, NEXT) // BLOCK
    assert hit(taught, SYSTEM, ASK, REPLY, NEXT, b"more", now=100.0).tokens == long_after * BLOCK
    taught.apply("a", batch(BlocksRemoved(hashes=blocks(SYSTEM, ASK)[-2:])), 101.0)
    assert hit(taught, SYSTEM, ASK, REPLY, NEXT, b"more", now=102.0) == confirmed(ASKED - 2)


def test_blocks_removed_tail_first_shorten_the_hit(taught):
    for left in range(ASKED - 1, 0, -1):
        taught.apply("a", batch(BlocksRemoved(hashes=(blocks(SYSTEM, ASK)[left],))), 2.0)
        assert hit(taught, SYSTEM, ASK, NEXT) == confirmed(left)


def test_blocks_in_an_unknown_medium_are_counted_apart_and_their_removal_clears_nothing(taught):
    taught.apply("a", batch(stored(SYSTEM, ASK, medium="TAPE")), 2.0)
    taught.apply("b", batch(stored(SYSTEM, ASK, medium="TAPE")), 2.0)
    assert hit(taught, SYSTEM, ASK, NEXT, replica="b") == Hit()
    assert taught.stats().replicas["b"].num_blocks_elsewhere == ASKED
    assert taught.stats().replicas["b"].elsewhere == ("TAPE",)
    taught.apply("a", batch(BlocksRemoved(hashes=blocks(SYSTEM, ASK), medium="TAPE")), 3.0)
    assert hit(taught, SYSTEM, ASK, NEXT) == confirmed(ASKED)
    assert taught.stats().replicas["a"].num_blocks_elsewhere == 0


@pytest.mark.parametrize(
    "event",
    [
        stored(b"some tokens", spec_kind="sliding_window"),
        stored(b"some tokens", group=1),
        BlocksRemoved(hashes=(1,), group=1),
        BlocksStored(hashes=(1,), parent=None, block_size=2 * BLOCK),
    ],
)
def test_other_kinds_groups_and_block_sizes_leave_prediction_only(taught, event):
    taught.book("c0", chain(SYSTEM, ASK), "a", length(SYSTEM, ASK), 10.0)
    taught.apply("a", batch(event, stored(SYSTEM, ASK)), 11.0)
    assert taught.stats().replicas["a"].is_predicted_only
    assert hit(taught, SYSTEM, ASK, NEXT, now=500.0) == predicted(ASKED)
    assert hit(taught, SYSTEM, ASK, NEXT, now=1000.0) == Hit()
    assert settle(taught, "c2", SYSTEM, ASK, NEXT) == type(settle(taught, "c3", SYSTEM))()


def test_a_chain_whose_head_was_never_seen_teaches_nothing_and_is_counted():
    index = index_of("a")
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", first=4)), 0.1)
    lesson = settle(index, "c1", SYSTEM, ASK)
    assert not lesson.is_taught
    assert not lesson.is_pending
    assert index.stats().num_missing_heads == 1
    assert hit(index, SYSTEM, ASK, NEXT) == Hit()


def test_a_head_that_another_replica_of_the_domain_published_serves_as_well():
    index = index_of("a", "b")
    index.apply("b", batch(stored(SYSTEM, ASK, last=4)), 0.1)
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", first=4)), 0.1)
    assert settle(index, "c1", SYSTEM, ASK).is_taught


@pytest.mark.parametrize("how", ["restart", "cleared"])
def test_a_replica_that_restarted_or_cleared_its_cache_holds_nothing(taught, how):
    taught.book("c0", chain(SYSTEM, ASK), "a", length(SYSTEM, ASK), 10.0)
    if how == "restart":
        taught.drop_blocks("a")
    else:
        taught.apply("a", batch(BlocksCleared()), 10.5)
    assert hit(taught, SYSTEM, ASK, NEXT, now=11.0) == Hit()
    taught.apply("a", batch(stored(SYSTEM, ASK, last=6)), 12.0)
    assert hit(taught, SYSTEM, ASK, NEXT, now=13.0) == confirmed(6)


def test_a_stale_feed_leaves_predictions_with_their_long_life_and_less_weight_until_it_is_back(taught):
    taught.book("c0", chain(SYSTEM, ASK), "a", length(SYSTEM, ASK), 10.0)
    taught.set_stale("a", is_stale=True)
    weighed = hit(taught, SYSTEM, ASK, NEXT, now=500.0)
    assert (weighed.source, weighed.unweighed_tokens) == (HitSource.PREDICTED, ASKED * BLOCK)
    assert weighed.tokens == round(ASKED * STALE_WEIGHT) * BLOCK
    assert hit(taught, SYSTEM, ASK, NEXT, now=1000.0) == Hit()
    taught.set_stale("a", is_stale=False)
    assert hit(taught, SYSTEM, ASK, NEXT, now=1000.0) == confirmed(ASKED)


def test_replicas_that_hash_one_prompt_differently_are_parted_and_nothing_wrong_is_matched():
    index = index_of("a", "b")
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", head_key=9)), 0.1)
    settle(index, "c1", SYSTEM, ASK)
    index.apply("b", batch(stored(b"a prompt of b", seed=1), stored(SYSTEM, ASK, call_id="c2", head_key=9, seed=1)), 0.2)
    stats = index.stats()
    assert (stats.num_splits, stats.num_domains, stats.replicas["b"].is_split) == (1, 2, True)
    assert stats.replicas["b"].num_blocks == ASKED
    assert hit(index, SYSTEM, ASK, NEXT, replica="b") == Hit()
    assert settle(index, "c2", SYSTEM, ASK, replica="b").is_taught
    assert hit(index, SYSTEM, ASK, NEXT, replica="b") == confirmed(ASKED)
    assert hit(index, SYSTEM, ASK, NEXT, replica="a") == confirmed(ASKED)


def test_a_replica_of_unknown_block_size_learns_it_from_events_and_stands_alone():
    index = index_of("a", "b", key=DomainKey(model="m"), num_blocks=None)
    assert index.stats().num_domains == 2
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1")), 0.1)
    assert settle(index, "c1", SYSTEM, ASK).is_taught
    assert hit(index, SYSTEM, ASK, NEXT) == confirmed(ASKED)


def test_another_lora_or_salt_shares_no_residency(taught):
    taught.book("c0", chain(SYSTEM, ASK), "a", length(SYSTEM, ASK), 10.0)
    assert hit(taught, SYSTEM, ASK, NEXT, now=11.0, root=b"m+salt") == Hit()


def test_a_template_that_drops_reasoning_on_growth_is_a_contradiction_and_counted(taught):
    taught.apply("a", batch(stored(SYSTEM, ASK[:-12], NEXT, call_id="c2", first=9)), 2.0)
    grown = (SYSTEM, ASK, NEXT)
    lesson = taught.settle("c2", chain(*grown), "a", Report(length(*grown) - 12), 3.0)
    assert lesson.is_taught
    assert lesson.is_contradiction
    assert taught.stats().num_contradicted == 1
    assert hit(taught, SYSTEM, ASK, b"else") == confirmed(9)


def test_a_failed_call_leaves_nothing_of_its_stamps():
    index = index_of("a", "b")
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1")), 0.1)
    index.forget_call("c1")
    assert settle(index, "c1", SYSTEM, ASK).is_pending
    index.forget_call("c1")
    assert index.stats().num_pending == 0


def test_a_retried_call_is_taught_by_the_replica_that_answered():
    index = index_of("a", "b")
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", last=2)), 0.1)
    index.apply("b", batch(stored(SYSTEM, ASK, call_id="c1")), 0.2)
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="c1", first=2, last=4)), 0.3)
    assert settle(index, "c1", SYSTEM, ASK, replica="b").is_taught


def test_waiting_calls_are_bounded_and_the_oldest_is_given_up():
    index = index_of("a")
    for number in range(MAX_PENDING + 3):
        settle(index, f"c{number}", SYSTEM, ASK)
    assert (index.stats().num_pending, index.stats().num_untaught) == (MAX_PENDING, 3)


def test_stamps_are_bounded_and_a_call_that_still_stores_is_not_the_one_forgotten():
    index = index_of("a", num_blocks=None)
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="busy", last=3), stored(SYSTEM, NEXT, call_id="idle")), 0.1)
    index.apply("a", batch(stored(SYSTEM, ASK, call_id="busy", first=3)), 0.2)
    index.apply("a", batch(*(stored(b"1234", call_id=f"other {number}") for number in range(MAX_STAMPS - 1))), 0.3)
    assert settle(index, "busy", SYSTEM, ASK).is_taught
    assert settle(index, "idle", SYSTEM, NEXT).is_pending


def test_where_the_block_size_is_unknown_a_prediction_counts_in_tokens():
    index = index_of("a", key=DomainKey(model="m"), num_blocks=None, has_events=False)
    index.book("c0", chain(b"x" * 41), "a", 41, 1.0)
    assert hit(index, b"x" * 41, now=2.0) == Hit(tokens=40, source=HitSource.PREDICTED)
    assert hit(index, b"x" * 41, b"y" * 10, now=2.0) == Hit(tokens=41, source=HitSource.PREDICTED)


def test_a_removed_replica_is_unknown_at_once_and_swept_in_slices(taught):
    taught.remove_replica("a")
    taught.remove_replica("a")
    assert hit(taught, SYSTEM, ASK, NEXT) == Hit()
    taught.apply("a", batch(stored(SYSTEM, ASK)), 2.0)
    assert taught.stats().num_unique_blocks == ASKED
    assert taught.sweep(2.0, max_blocks=5)
    assert taught.stats().num_unique_blocks == ASKED - 5
    while taught.sweep(2.0, max_blocks=5):
        pass
    assert taught.stats().num_unique_blocks == 0


def test_adding_a_replica_again_changes_nothing_unless_its_facts_differ(taught):
    taught.add_replica("a", KEY, num_blocks=1000, has_events=True)
    assert hit(taught, SYSTEM, ASK, NEXT) == confirmed(ASKED)
    taught.add_replica("a", KEY, num_blocks=500, has_events=True)
    assert hit(taught, SYSTEM, ASK, NEXT) == Hit()
    taught.apply("a", batch(stored(SYSTEM, ASK)), 2.0)
    assert hit(taught, SYSTEM, ASK, NEXT) == confirmed(ASKED), "what was taught of the domain outlives one replica"


def test_blocks_and_predictions_are_bounded_by_the_cache_of_the_replica():
    index = index_of("a", num_blocks=8)
    index.apply("a", batch(stored(b"x" * 400)), 0.1)
    assert index.stats().replicas["a"].num_blocks == 10
    assert index.stats().num_evicted_blocks == 90
    index.book("c0", chain(b"y" * 30, b"z" * 30), "a", 60, 1.0)
    assert index.stats().replicas["a"].num_predicted_tokens == 32


def test_evidence_is_bounded_by_bytes():
    index = index_of("a", settings=IndexSettings(bytes_per_token=1.0, max_evidence_bytes=2048))
    for number in range(20):
        question = b"question %d" % number
        index.apply("a", batch(stored(question, call_id=f"c{number}")), 0.1)
        assert settle(index, f"c{number}", question).is_taught
        assert index.stats().num_evidence_bytes <= 2048
    assert 0 < index.stats().num_evidence_entries < 20


def test_calls_of_replicas_that_have_left_are_ignored(taught):
    taught.book("c0", chain(SYSTEM), "gone", 10, 1.0)
    taught.drop_blocks("gone")
    taught.set_stale("gone", is_stale=True)
    assert settle(taught, "c9", SYSTEM, replica="gone") == settle(taught, "c9", replica="a")
