"""Predicted runs: bounds, order of loss, age, correction."""

import pytest

from turnwise.index.predicted import MAX_RUNS, PredictedRuns


def digests(*names):
    """Digests of growing prefixes of `names`."""
    return tuple("/".join(names[: end + 1]).encode() for end in range(len(names)))


def held(runs, slot, prompt, since=0.0):
    depth = dict(runs.depths(prompt, 1 << slot)).get(1 << slot, 0)
    return runs.tokens_since(slot, prompt, depth, since)


@pytest.fixture
def runs():
    return PredictedRuns()


def test_what_was_booked_is_held_up_to_the_last_shared_boundary(runs):
    slot = runs.open_slot(10_000)
    runs.book(slot, digests("sys", "a", "b"), [100, 150, 180], now=1.0)
    assert held(runs, slot, digests("sys", "a", "b", "c")) == 180
    assert held(runs, slot, digests("sys", "a", "x")) == 150
    assert held(runs, slot, digests("sys", "y")) == 100
    assert held(runs, slot, digests("other")) == 0


def test_shared_runs_count_once(runs):
    slot = runs.open_slot(10_000)
    runs.book(slot, digests("sys", "a"), [100, 150], now=1.0)
    runs.book(slot, digests("sys", "b"), [100, 170], now=2.0)
    assert runs.num_tokens(slot) == 220


def test_past_its_tokens_the_oldest_prompt_goes_tail_first(runs):
    slot = runs.open_slot(250)
    runs.book(slot, digests("sys", "a", "aa"), [100, 150, 200], now=1.0)
    runs.book(slot, digests("sys", "b"), [100, 160], now=2.0)
    assert held(runs, slot, digests("sys", "a", "aa")) == 150
    assert held(runs, slot, digests("sys", "b")) == 160
    runs.book(slot, digests("sys", "c"), [100, 190], now=3.0)
    assert held(runs, slot, digests("sys", "a", "aa")) == 100
    assert held(runs, slot, digests("sys", "b")) == 160
    assert runs.num_tokens(slot) == 250


def test_a_prompt_larger_than_the_cache_keeps_its_head(runs):
    slot = runs.open_slot(120)
    prompt = digests("sys", "a", "b")
    runs.book(slot, prompt, [100, 150, 180], now=1.0)
    assert held(runs, slot, prompt) == 100


def test_age_is_told_by_boundary(runs):
    slot = runs.open_slot(10_000)
    runs.book(slot, digests("sys", "a"), [100, 150], now=1.0)
    runs.book(slot, digests("sys"), [100], now=9.0)
    assert held(runs, slot, digests("sys", "a"), since=1.0) == 150
    assert held(runs, slot, digests("sys", "a"), since=5.0) == 100
    assert held(runs, slot, digests("sys", "a"), since=10.0) == 0


def test_a_sweep_drops_what_expired_a_slice_at_a_time(runs):
    slot = runs.open_slot(10_000)
    runs.book(slot, digests("a", "b", "c"), [10, 20, 30], now=1.0)
    runs.book(slot, digests("d"), [10], now=5.0)
    assert runs.sweep(before=5.0, max_runs=2) == 0
    assert held(runs, slot, digests("a", "b", "c")) == 10
    assert runs.sweep(before=5.0, max_runs=2) == 1
    assert len(runs) == 1
    assert runs.num_tokens(slot) == 10


def test_a_retired_slot_is_forgotten_and_swept_before_its_number_comes_again(runs):
    slot = runs.open_slot(10_000)
    runs.book(slot, digests("a", "b", "c"), [10, 20, 30], now=1.0)
    runs.retire_slot(slot)
    assert runs.open_slot(10) != slot
    assert runs.sweep(before=0.0, max_runs=10) == 7
    assert runs.open_slot(10) == slot
    assert held(runs, slot, digests("a", "b", "c")) == 0


def test_the_number_of_runs_is_bounded_whatever_their_tokens(runs):
    slot = runs.open_slot(10**12)
    prompt = tuple(number.to_bytes(4, "big") for number in range(MAX_RUNS + 100))
    runs.book(slot, prompt, range(1, len(prompt) + 1), now=1.0)
    assert len(runs) == MAX_RUNS


def test_an_answer_replaces_estimated_lengths(runs):
    slot = runs.open_slot(10_000)
    prompt = digests("sys", "a")
    runs.book(slot, prompt, [100, 150], now=1.0)
    runs.settle(slot, prompt, [120, 200], now=2.0)
    assert held(runs, slot, prompt) == 200
    assert runs.num_tokens(slot) == 200


@pytest.fixture
def shared(runs):
    """A slot where a prompt was answered and another one, which shares its system prompt, is booked after."""
    slot = runs.open_slot(10_000)
    first, second = digests("sys", "a", "aa"), digests("sys", "b")
    runs.book(slot, first, [100, 150, 200], now=1.0)
    runs.settle(slot, first, [100, 150, 200], now=2.0)
    runs.book(slot, second, [100, 140], now=3.0)
    return slot, first, second


def test_what_hung_on_a_lost_part_is_dropped_and_what_the_call_filled_anew_stays(runs, shared):
    slot, first, second = shared
    runs.correct(slot, second, cached_tokens=0)
    assert held(runs, slot, first) == 100
    assert held(runs, slot, second) == 140
    assert runs.num_tokens(slot) == 140


def test_nothing_is_dropped_where_the_shared_part_was_cached(runs, shared):
    slot, first, second = shared
    runs.correct(slot, second, cached_tokens=96)
    assert held(runs, slot, first) == 200


def test_a_call_that_was_merely_slower_is_no_loss(runs):
    slot = runs.open_slot(10_000)
    racing, second = digests("sys", "a"), digests("sys", "b")
    runs.book(slot, racing, [100, 150], now=1.0)
    runs.book(slot, second, [100, 140], now=1.5)
    runs.correct(slot, second, cached_tokens=0)
    assert held(runs, slot, racing) == 150


def test_what_was_booked_after_the_corrected_call_stays(runs, shared):
    slot, first, second = shared
    runs.book(slot, first, [100, 150, 200], now=4.0)
    runs.correct(slot, second, cached_tokens=0)
    assert held(runs, slot, first) == 200
