"""What a replica without events is learned to hold: its capacity, a slower tier, restarts, and losses that nothing explains."""

import pytest

from turnwise.index.capacity import Capacity
from turnwise.index.predicted import KEPT_SHARE, PredictedRuns
from turnwise.types import PromptChain

SYSTEM, OWN = 500, 500


class Lru:
    """An engine that holds conversations of two segments, a shared one and their own, and loses the oldest first."""

    def __init__(self, capacity, *, stated=None, unstated=1_000_000, matches=None):
        self.capacity, self.matches = capacity, matches
        self.held = []
        self.learned = Capacity(stated, unstated)
        self.runs = PredictedRuns(self.learned)
        self.now = 0.0

    def call(self, name, answer_tokens=0):
        """One call; returns what was predicted and what was found."""
        predicted = self.send(name)
        return predicted, self.answer(name, answer_tokens)

    def send(self, name):
        """A call is sent; returns what was predicted."""
        self.now += 1
        predicted = self.runs.tokens_since(chain_of(name), 0.0)
        self.runs.book(chain_of(name), SYSTEM + OWN, self.now)
        return predicted

    def answer(self, name, answer_tokens=0):
        """It is looked at and answered; returns what was found."""
        found = (SYSTEM + OWN if name in self.held else SYSTEM) if self.held else 0
        if self.matches is not None:
            found = min(found, self.matches)
        self.held = [other for other in self.held if other != name] + [name]
        while len(self.held) * OWN + SYSTEM > self.capacity:
            del self.held[0]
        self.runs.settle(chain_of(name), SYSTEM + OWN, found, self.now + 0.5, answer_tokens)
        return found


def chain_of(name):
    return PromptChain(digests=(b"system", b"system" + name.encode()), ends=(SYSTEM, SYSTEM + OWN))


def in_turn(engine, count, rounds):
    return [engine.call(f"c{number}") for _ in range(rounds) for number in range(count)]


def mixed(engine, rounds):
    """Conversations that come back sooner and later, by a fixed sequence."""
    return [engine.call(f"c{step * step * 7 % 61 % 31}") for step in range(rounds)]


@pytest.mark.parametrize("stated", [None, 40_000])
def test_a_cache_smaller_than_believed_is_found_out(stated):
    engine = Lru(8_000, stated=stated)
    mixed(engine, 200)
    assert engine.learned.tokens == pytest.approx(8_000, rel=0.1)
    assert engine.learned.offload_tokens == 0
    late = mixed(engine, 100)
    assert sum(predicted for predicted, _ in late) == pytest.approx(sum(found for _, found in late), rel=0.05)


def test_a_slower_tier_shows_as_more_than_the_stated_size_and_is_predicted():
    engine = Lru(12_000, stated=7_000)
    mixed(engine, 300)
    assert engine.learned.offload_tokens == pytest.approx(5_000, rel=0.25)
    late = mixed(engine, 100)
    assert sum(predicted for predicted, _ in late) == pytest.approx(sum(found for _, found in late), rel=0.05)


@pytest.mark.parametrize("capacity", [8_000, 1_000_000])
def test_a_silent_restart_is_noticed_by_the_third_call(capacity):
    engine = Lru(capacity, stated=capacity)
    in_turn(engine, 10, 8)
    engine.held.clear()
    lost = [engine.call(f"c{number}") for number in range(10)]
    assert lost[0] == (1000, 0)
    assert engine.learned.num_restarts == 1
    assert all(predicted <= found for predicted, found in lost[3:])
    assert engine.learned.tokens == pytest.approx(capacity, rel=0.1)
    assert in_turn(engine, 10, 2)[10:] == [(1000, 1000)] * 10


def test_one_odd_report_is_no_restart():
    engine = Lru(20_000, stated=20_000)
    in_turn(engine, 10, 8)
    engine.matches = 0
    engine.call("c3")
    engine.matches = None
    assert in_turn(engine, 10, 2) == [(1000, 1000)] * 20
    assert (engine.learned.num_restarts, engine.learned.tokens) == (0, 20_000)


def test_a_call_that_waited_while_others_filled_the_cache_is_no_sign_of_a_restart():
    engine = Lru(8_000, stated=8_000)
    in_turn(engine, 10, 8)
    assert engine.send("c9") == SYSTEM + OWN
    for number in range(20):
        engine.call(f"new{number}")
    assert engine.answer("c9") == SYSTEM
    for number in range(20, 23):
        engine.call(f"new{number}")
    assert engine.learned.num_restarts == 0


def test_a_prompt_that_never_matches_beyond_its_head_is_unexplained_and_no_small_cache():
    engine = Lru(20_000, stated=20_000, matches=SYSTEM)
    in_turn(engine, 4, 50)
    assert engine.learned.num_unexplained >= 100
    assert (engine.learned.num_restarts, engine.learned.tokens) == (0, 20_000)


def test_what_was_generated_takes_room_and_is_found_by_the_next_turn():
    runs = PredictedRuns(Capacity(None, 10_000))
    first = PromptChain(digests=(b"a",), ends=(100,))
    grown = PromptChain(digests=(b"a", b"ab", b"abc"), ends=(100, 150, 200))
    runs.book(first, 100, 1.0)
    runs.settle(first, 100, 0, 2.0, 50)
    assert runs.num_tokens == 150
    assert runs.tokens_since(first, 0.0) == 100
    assert runs.tokens_since(grown, 0.0) == 150
    runs.book(grown, 210, 3.0)
    assert runs.num_tokens == 210


def test_answers_that_are_never_found_are_not_predicted_again():
    runs = PredictedRuns(Capacity(None, 1_000_000))
    for session in range(6):
        chain = PromptChain(digests=(b"%d" % session,), ends=(1000,))
        grown = PromptChain(digests=(*chain.digests, b"%d more" % session), ends=(1000, 1600))
        runs.book(chain, 1000, session + 0.1)
        runs.settle(chain, 1000, 0, session + 0.2, 400)
        predicted = runs.tokens_since(grown, 0.0)
        runs.book(grown, 1600, session + 0.3)
        runs.settle(grown, 1600, 1000, session + 0.4)
    assert predicted == 1000


def test_what_is_in_use_is_lost_last():
    runs = PredictedRuns(Capacity(None, 300))
    running, *others = (PromptChain(digests=(bytes([name]),), ends=(100,)) for name in b"abcde")
    runs.book(running, 100, 1.0)
    for step, chain in enumerate(others):
        runs.book(chain, 100, 2.0 + step)
        runs.settle(chain, 100, 0, 2.5 + step)
    assert runs.tokens_since(running, 0.0) == 100
    assert runs.num_tokens == 300
    assert runs.num_kept_tokens <= KEPT_SHARE * 300


def test_what_was_used_last_is_told_from_what_a_faster_tier_has_no_room_for():
    engine = Lru(100_000)
    for number in range(40):
        engine.call(f"c{number}")

    def within(name, num_tokens):
        chain = PromptChain(
            digests=(b"system", b"system" + name.encode(), b"new"), ends=(SYSTEM, SYSTEM + OWN, SYSTEM + 2 * OWN)
        )
        return engine.runs.tokens_within(chain, num_tokens)

    whole, head = SYSTEM + OWN, SYSTEM  # the head was used with every one of them
    assert [within(f"c{number}", 10_500) for number in (39, 30, 21)] == [whole] * 3
    assert [within(f"c{number}", 10_500) for number in (10, 0)] == [head] * 2
    assert within("nobody", 10_500) == head


def test_where_a_faster_tier_ends_is_looked_up_anew_as_prompts_come():
    engine = Lru(100_000)
    engine.call("first")
    chain = PromptChain(digests=(b"system", b"systemfirst"), ends=(SYSTEM, SYSTEM + OWN))
    assert engine.runs.tokens_within(chain, 5_000) == SYSTEM + OWN
    for number in range(40):
        engine.call(f"c{number}")
    assert engine.runs.tokens_within(chain, 5_000) == SYSTEM
