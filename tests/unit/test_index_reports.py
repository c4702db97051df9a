"""Prompts of which no event can tell, and the calls that are asked to report them; a byte is a token, a block is four."""

import pytest
from tests.unit.letters import BLOCK, LATE, World, cached, chain, stored

from turnwise.index.lessons import PENDING_TTL_S
from turnwise.index.reports import MAX_BOOKED, MAX_MARKS, MAX_TRIES

SYSTEM, ASK, NEXT = b"you help all people. ", b"what is the weather? ", b"and tomorrow? "


def test_a_wholly_cached_prompt_that_nothing_taught_is_given_up_at_once_and_the_next_call_reports():
    world = World()
    text = SYSTEM + ASK
    world.apply(stored(text))
    lesson = world.settle("c1", chain(SYSTEM, ASK), text, cached=cached(text), completion=1)
    assert not lesson.is_taught
    assert not lesson.is_pending
    assert world.index.wants_report(chain(SYSTEM, ASK, NEXT), "a")
    assert world.index.stats().num_reports_asked == 1


def test_a_prompt_whose_last_token_ends_a_block_waits_for_the_block_that_it_computed_anew():
    world = World()
    text = (SYSTEM + ASK)[: -(len(SYSTEM + ASK) % BLOCK) or None]
    world.apply(stored(text))
    assert world.settle("c1", chain(text), text, cached=cached(text), completion=1).is_pending
    world.index.sweep(1.0 + PENDING_TTL_S)
    assert world.index.stats().num_untaught == 1
    assert world.index.wants_report(chain(text), "a")


def test_a_chain_without_a_head_asks_for_one_report_which_teaches():
    world = World()
    text = SYSTEM + ASK
    prompt, grown = chain(SYSTEM, ASK), chain(SYSTEM, ASK, NEXT)
    world.apply(stored(text, "c1", first=3))
    assert not world.settle("c1", prompt, text, cached=3 * BLOCK).is_taught
    assert not world.index.wants_report(grown, "b"), "another replica holds none of it"
    assert not world.index.wants_report(chain(b"another prompt"), "a")
    assert world.index.wants_report(grown, "a")
    assert not world.index.wants_report(grown, "a"), "one is under way"
    world.index.book("c2", grown, "a", 50, 1.0, reports=True)
    world.apply(stored(text + NEXT, "c2"))
    assert world.settle("c2", grown, text + NEXT, cached=len(text) // BLOCK * BLOCK).is_taught
    assert not world.index.wants_report(grown, "a")
    assert world.index.stats().num_reports_asked == 1
    assert world.confirmed(chain(SYSTEM, ASK, NEXT, b"more")) == len(text + NEXT) // BLOCK


def miss(world, number, prompt, text, first=3):
    """A call whose chain has no head."""
    world.apply(stored(text, f"missed {number}", first=first))
    assert not world.settle(f"missed {number}", prompt, text, cached=first * BLOCK).is_taught


def test_a_head_that_no_report_brings_is_not_asked_for_again_and_again():
    world = World()
    asked = 0
    for number in range(2 * MAX_TRIES):
        miss(world, number, chain(SYSTEM, ASK), SYSTEM + ASK)
        asked += world.index.wants_report(chain(SYSTEM, ASK), "a")
    assert asked == world.index.stats().num_reports_asked == MAX_TRIES


def test_a_shared_beginning_without_a_head_is_reported_by_any_call_that_has_it():
    world = World()
    miss(world, 1, chain(SYSTEM, ASK), SYSTEM + ASK, first=len(SYSTEM) // BLOCK)
    assert world.index.wants_report(chain(SYSTEM, b"another question"), "a")


@pytest.mark.parametrize("how", ["left", "restarted"])
def test_what_a_replica_lacked_is_forgotten_with_what_it_held(how):
    world = World()
    miss(world, 1, chain(SYSTEM, ASK), SYSTEM + ASK)
    if how == "left":
        world.index.remove_replica("a")
    else:
        world.index.drop_blocks("a")
    assert not world.index.wants_report(chain(SYSTEM, ASK), "a")


def test_no_report_is_asked_of_a_replica_that_cannot_be_heard():
    world = World()
    miss(world, 1, chain(SYSTEM, ASK), SYSTEM + ASK)
    world.index.set_stale("a", is_stale=True)
    assert not world.index.wants_report(chain(SYSTEM, ASK), "a")
    world.index.set_stale("a", is_stale=False)
    assert world.index.wants_report(chain(SYSTEM, ASK), "a")


def test_what_is_remembered_of_missing_heads_and_of_calls_that_report_is_bounded():
    world = World()
    for number in range(MAX_MARKS + 1):
        start = b"%6d" % number
        miss(world, number, chain(start, ASK), start + ASK)
    assert not world.index.wants_report(chain(b"%6d" % 0, ASK), "a")
    assert world.index.wants_report(chain(b"%6d" % 1, ASK), "a")
    for number in range(MAX_BOOKED + 1):
        world.index.book(f"c{number}", None, "a", 0, 0.0, reports=True)
    reports = world.index._reports
    assert not reports.is_booked("c0")
    assert reports.is_booked("c1")


def test_nothing_is_asked_of_replicas_without_stamps_or_of_prompts_that_nobody_read():
    world = World()
    text = SYSTEM + ASK
    world.settle("c1", chain(SYSTEM, ASK), text, cached=0)
    world.index.sweep(LATE)
    assert world.index.stats().num_untaught == 1
    assert not world.index.wants_report(chain(SYSTEM, ASK), "a")
    assert not world.index.wants_report(None, "a")
