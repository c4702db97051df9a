"""One lesson for each call: in which order its events come, and what they contradict.

A byte is a token, a block is four.
"""

import sys
from collections import Counter

import pytest
from tests.unit.letters import BLOCK, World, cached, chain, chain_of, hashes, stored

from turnwise.events import BlocksRemoved
from turnwise.index.trust import CONFIRMATIONS_TO_FORGIVE, MAX_CONTRADICTIONS
from turnwise.types import SegmentKind

SYSTEM, ASK, NEXT = b"you help all people. ", b"what is the weather? ", b"and tomorrow? "
THOUGHT, SAID = b"<think>it is november</think>", b"it is sunny. "


# Contradictions: which, where, and what they cost.


def test_a_break_names_the_segment_that_a_template_shortened_and_the_blocks_that_it_cost():
    world = World()
    turn = (SYSTEM, ASK, THOUGHT + SAID, NEXT)
    world.call(chain(SYSTEM, ASK), SYSTEM + ASK)
    world.call(chain(*turn), b"".join(turn))
    lesson = world.call(chain(*turn, b"ok", b"thanks"), SYSTEM + ASK + SAID + NEXT + b"okthanks")
    assert lesson.is_contradiction
    assert lesson.broke_at == 2
    assert lesson.lost_tokens == (len(b"".join(turn)) // BLOCK - len(SYSTEM + ASK) // BLOCK) * BLOCK


@pytest.mark.parametrize(("before", "after"), [(b"mon. ", b"tue. "), (b"", b"today is friday. ")])
def test_a_date_that_changes_before_or_in_the_system_prompt_breaks_in_the_first_segment(before, after):
    world = World()
    world.call(chain(SYSTEM, ASK), before + SYSTEM + ASK)
    lesson = world.call(chain(SYSTEM, ASK, SAID, NEXT), after + SYSTEM + ASK + SAID + NEXT)
    assert (lesson.is_contradiction, lesson.broke_at) == (True, 0)
    assert lesson.lost_tokens == len(before + SYSTEM + ASK) // BLOCK * BLOCK


def test_a_break_in_a_segment_whose_ends_nobody_counted_is_placed_by_its_share_of_bytes():
    world = World()
    turns = [b"message number %d of ten. " % number for number in range(10)]
    world.call(chain(*turns), b"".join(turns))
    shown = b"".join([*turns[:6], b"cut", *turns[7:], NEXT])
    assert world.call(chain(*turns, NEXT), shown).broke_at == 6


def test_a_prompt_that_comes_again_and_is_rendered_otherwise_is_a_contradiction():
    world = World()
    world.call(chain(SYSTEM, ASK), b"mon. " + SYSTEM + ASK)
    lesson = world.call(chain(SYSTEM, ASK), b"tue. " + SYSTEM + ASK)
    assert (lesson.is_contradiction, lesson.broke_at) == (True, 0)
    assert world.index.stats().num_contradicted == 1
    assert not world.call(chain(SYSTEM, ASK), b"tue. " + SYSTEM + ASK).is_contradiction


def test_a_prompt_that_agrees_in_all_full_blocks_contradicts_nothing():
    world = World()
    world.call(chain(b"12345678"), b"12345678")
    lesson = world.call(chain(b"12345678"), b"12345678!")
    assert (lesson.is_taught, lesson.is_contradiction, lesson.broke_at, lesson.lost_tokens) == (True, False, None, 0)


def contradict(world, number, root=b"m"):
    """One conversation whose template drops what it had shown."""
    start = b"%d %b" % (number, SYSTEM)
    world.call(chain(start, THOUGHT, root=root), start + THOUGHT)
    assert world.call(chain(start, THOUGHT, NEXT, root=root), start + NEXT).is_contradiction


def test_a_template_that_contradicts_itself_is_believed_for_whole_prompts_only_and_others_as_before():
    world = World()
    for number in range(MAX_CONTRADICTIONS):
        assert world.index.stats().num_templates_whole_only == 0
        contradict(world, number)
    assert world.index.stats().num_templates_whole_only == 1
    for root, grown in ((b"m", 0), (b"other", len(SYSTEM + ASK) // BLOCK)):
        world.call(chain(SYSTEM, ASK, root=root), SYSTEM + ASK)
        assert world.confirmed(chain(SYSTEM, ASK, NEXT, root=root)) == grown
        assert world.confirmed(chain(SYSTEM, ASK, root=root)) == (len(SYSTEM + ASK) - 1) // BLOCK


def test_agreement_in_a_row_forgives_the_template_that_agreed_and_no_other():
    world = World()
    for root in (b"m", b"other"):
        for number in range(MAX_CONTRADICTIONS):
            contradict(world, number, root)
    turns = [SYSTEM]
    for turn in range(CONFIRMATIONS_TO_FORGIVE + 2):
        turns.append(b"message %d. " % turn)
        world.call(chain(*turns), b"".join(turns))
    assert world.index.stats().num_templates_whole_only == 1


def test_prompts_without_a_template_are_not_judged_by_what_one_does():
    world = World()
    for number in range(MAX_CONTRADICTIONS):
        contradict(world, number)
    bare = [(SegmentKind.TEXT, SYSTEM), (SegmentKind.TEXT, ASK)]
    world.call(chain_of(*bare), SYSTEM + ASK)
    assert world.confirmed(chain_of(*bare, (SegmentKind.TEXT, NEXT))) == len(SYSTEM + ASK) // BLOCK


def test_what_is_said_to_a_template_makes_it_another():
    ask = (SegmentKind.USER, ASK)
    plain = chain_of(ask).template
    assert plain == chain_of((SegmentKind.TOOLS, b"[]"), (SegmentKind.SYSTEM, SYSTEM)).template
    told = chain_of((SegmentKind.TEMPLATE, b'"enable_thinking":false'), ask).template
    salted = chain_of(ask, root=b"m+salt").template
    assert len({plain, told, salted, chain_of((SegmentKind.TEXT, ASK)).template}) == 4


# Events: late, again, in part, not at all.


def test_a_call_that_is_preempted_and_computed_again_is_taught():
    world = World()
    blocks = hashes(SYSTEM + ASK)
    world.apply(stored(SYSTEM + ASK, "c1", last=6))
    world.apply(BlocksRemoved(hashes=tuple(reversed(blocks[2:6]))))
    world.apply(stored(SYSTEM + ASK, "c1", first=2, last=5))
    assert world.settle("c1", chain(SYSTEM, ASK), SYSTEM + ASK).is_pending
    world.apply(stored(SYSTEM + ASK, "c1", first=5))
    assert world.confirmed(chain(SYSTEM, ASK, NEXT)) == len(blocks)


def test_several_answers_to_one_prompt_that_are_decoded_side_by_side_teach_the_prompt():
    world = World()
    text = SYSTEM + ASK
    done = len(text) // BLOCK
    first, second = text + b"it is sunny and warm", text + b"there will be some rain"
    world.apply(stored(text, "c1"))
    for block in range(done, done + 4):
        world.apply(stored(first, "c1", first=block, last=block + 1), stored(second, "c1", first=block, last=block + 1))
    assert world.settle("c1", chain(SYSTEM, ASK), text, completion=40).is_taught
    assert world.confirmed(chain(SYSTEM, ASK, NEXT)) == done


def test_events_heard_twice_before_and_after_the_answer_are_one_lesson():
    world = World()
    event = stored(SYSTEM + ASK, "c1")
    world.apply(event, event)
    assert world.settle("c1", chain(SYSTEM, ASK), SYSTEM + ASK).is_taught
    world.apply(event)
    stats = world.index.stats()
    assert (stats.num_taught, stats.num_pending, stats.num_contradicted) == (1, 0, 0)
    assert world.confirmed(chain(SYSTEM, ASK, NEXT)) == len(SYSTEM + ASK) // BLOCK


def test_a_call_whose_replica_lost_its_blocks_before_the_answer_is_taught_by_the_replay():
    world = World()
    world.apply(stored(SYSTEM + ASK, "c1", last=3))
    world.index.drop_blocks("a")
    assert world.settle("c1", chain(SYSTEM, ASK), SYSTEM + ASK).is_pending
    world.apply(stored(SYSTEM + ASK, "c1", last=3))
    world.apply(stored(SYSTEM + ASK, "c1", first=3))
    assert world.index.stats().num_taught == 1


def test_a_call_that_stored_nothing_is_taught_at_once_where_what_is_known_reaches_as_far():
    world = World()
    world.call(chain(SYSTEM, ASK), SYSTEM + ASK)
    text = SYSTEM + ASK + b"!"
    lesson = world.settle("c9", chain(SYSTEM, ASK, b"!"), text, cached=cached(text), completion=1)
    assert (lesson.is_taught, world.index.stats().num_pending) == (True, 0)


def test_a_call_that_computed_some_of_its_prompt_is_not_taken_for_what_was_known():
    """Its events are late: they tell that the date has changed, and no other turn is to be believed of the old one."""
    world = World()
    world.call(chain(SYSTEM, ASK), b"mon. " + SYSTEM + ASK)
    text = b"tue. " + SYSTEM + ASK
    assert world.settle("c9", chain(SYSTEM, ASK), text, cached=0).is_pending
    world.apply(stored(text, "c9"))
    assert world.index.stats().num_contradicted == 1
    assert world.confirmed(chain(SYSTEM, ASK, NEXT)) == len(text) // BLOCK


def test_where_nobody_says_how_much_was_cached_later_events_correct_what_was_taken_for_known():
    world = World()
    world.call(chain(SYSTEM, ASK), b"mon. " + SYSTEM + ASK)
    text = b"tue. " + SYSTEM + ASK
    assert world.settle("c9", chain(SYSTEM, ASK), text).is_taught
    world.apply(stored(text, "c9"))
    stats = world.index.stats()
    assert (stats.num_taught, stats.num_contradicted) == (2, 1)
    assert world.confirmed(chain(SYSTEM, ASK, NEXT)) == len(text) // BLOCK


@pytest.mark.parametrize("grown", [False, True])
def test_a_count_that_denies_what_is_known_ends_the_belief_in_it_though_no_event_tells_better(grown):
    world = World()
    world.call(chain(SYSTEM, ASK), b"wed. " + SYSTEM + ASK)
    prompt, text = (chain(SYSTEM, ASK, b"?"), SYSTEM + b"?") if grown else (chain(SYSTEM, ASK), SYSTEM + ASK)
    assert not world.settle("c9", prompt, text, cached=cached(text), completion=1).is_taught
    assert world.confirmed(chain(SYSTEM, ASK)) == world.confirmed(chain(SYSTEM, ASK, NEXT)) == 0


def test_a_chain_without_a_head_that_cannot_be_the_known_one_ends_the_belief_in_it():
    world = World()
    old, new = b"mon. " + SYSTEM + ASK, b"tue. " + SYSTEM + ASK
    world.call(chain(SYSTEM, ASK), old)
    world.apply(stored(new, "c9", first=1))
    assert not world.settle("c9", chain(SYSTEM, ASK), new, cached=BLOCK, completion=1).is_taught
    assert world.confirmed(chain(SYSTEM, ASK)) == 0


def test_the_first_events_of_a_call_do_not_deny_what_they_agree_with():
    world = World()
    text = SYSTEM + ASK
    world.call(chain(SYSTEM, ASK), text)
    world.apply(stored(text, "c9", last=2))
    assert world.settle("c9", chain(SYSTEM, ASK), text, cached=0, completion=1).is_taught
    assert world.confirmed(chain(SYSTEM, ASK, NEXT)) == len(text) // BLOCK


def late_break(world):
    """A call whose blocks come after its answer, and break what was taught; returns its lesson then."""
    world.call(chain(SYSTEM, ASK), b"mon. " + SYSTEM + ASK)
    grown = chain(SYSTEM, ASK, NEXT)
    text = b"tue. " + SYSTEM + ASK + NEXT
    lesson = world.settle("late", grown, text, cached=0, completion=1)
    world.apply(stored(text, "late"))
    return lesson


def test_a_break_that_is_learned_after_the_answer_is_told_later():
    world = World()
    assert late_break(world).is_pending
    ((call_id, lesson),) = world.index.late
    assert (call_id, lesson.is_contradiction, lesson.broke_at) == ("late", True, 0)


def test_what_is_learned_late_and_breaks_nothing_is_not_kept_to_be_told():
    world = World()
    prompt, text = chain(SYSTEM, ASK), SYSTEM + ASK
    assert world.settle("late", prompt, text, cached=0, completion=1).is_pending
    world.apply(stored(text, "late"))
    assert world.confirmed(prompt) > 0
    assert not world.index.late


# What a lesson costs.


def num_steps(work):
    """Function calls that some work makes, in Python and into C."""
    counted = Counter()

    def count(_frame, event, _arg):
        counted[event] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted["call"] + counted["c_call"]


def test_a_turn_is_learned_in_as_many_steps_behind_many_turns_as_behind_few():
    steps = set()
    for num_turns in (10, 40, 150):
        world = World()
        turns = [b"turn number %3d; " % number for number in range(num_turns)]
        before, prompt = b"".join(turns), chain(*turns, NEXT)
        world.call(chain(*turns), before)
        text = before + NEXT
        world.apply(stored(text, "next", first=len(before) // BLOCK))
        steps.add(num_steps(lambda world=world, prompt=prompt, text=text: world.settle("next", prompt, text)))
        assert world.confirmed(prompt) == (len(text) - 1) // BLOCK
    assert len(steps) == 1
