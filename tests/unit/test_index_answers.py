"""Answers joined to the prompts that they answer; a byte is a token and a block is four."""

import pytest
from tests.unit.letters import BLOCK, World, chain, says, stored

from turnwise.index import AnswerFate, AnswerKind
from turnwise.index.lessons import PENDING_TTL_S
from turnwise.index.trust import JOINED_PER_BREAK
from turnwise.types import HitSource

CONFIRMED, PREDICTED = HitSource.CONFIRMED, HitSource.PREDICTED
SYSTEM, ASK, REPLY, NEXT = b"you help people. ", b"what is the weather?", b"it is sunny and warm today.", b"and tomorrow?"
PROMPT = SYSTEM + ASK
SAID = says("it is sunny and warm today.")
WRITTEN = b'{"role":"assistant","content":"it is sunny and warm today."}'
"""The answer as the client writes it down: other bytes than were generated, saying the same."""

ASKED, ANSWERED = len(PROMPT) // BLOCK, (len(PROMPT + REPLY) - 1) // BLOCK


def follow_up(said=SAID, *, ask=ASK, written=WRITTEN):
    return chain(SYSTEM, ask, written, NEXT, says=(2, said))


def learned(world):
    """What was learned, in figures."""
    stats = world.index.stats()
    return stats.num_taught, stats.num_untaught, stats.num_contradicted, stats.num_evidence_bytes, stats.answers


def converse(world, number, *, said=SAID, turn=SAID, rendered=PROMPT + REPLY + NEXT):
    """One conversation of two turns whose answer is rendered as in `rendered`; returns the second lesson."""
    ask = b"%d: %b" % (number, ASK)
    own = rendered.replace(ASK, ask)
    world.call(chain(SYSTEM, ask), SYSTEM + ask, REPLY, said=said)
    return world.call(follow_up(turn, ask=ask), own)


def test_a_turn_that_says_what_was_answered_is_believed_to_reach_through_the_answer():
    world = World()
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=SAID)
    assert world.hit(follow_up()) == (ANSWERED, PREDICTED)
    assert world.index.residency(follow_up(), ["a"], 0.0).prompt_tokens == len(PROMPT + REPLY + NEXT)


@pytest.mark.parametrize("turn", [says("it rains."), says("it is sunny and warm today.", calls="look()"), says()])
def test_a_turn_that_says_something_else_reaches_through_the_prompt_alone(turn):
    world = World()
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=SAID)
    assert world.hit(follow_up(turn)) == (ASKED, CONFIRMED)
    lesson = world.call(follow_up(turn), PROMPT + b"other words" + NEXT)
    assert lesson.answer is AnswerFate.NOT_SAID
    assert world.index.stats().answers == {AnswerKind.PLAIN: {AnswerFate.NOT_SAID: 1}}
    assert not lesson.is_contradiction


def test_once_an_answer_was_rendered_as_it_was_generated_the_next_of_its_kind_is_confirmed():
    world = World()
    lesson = converse(world, 1)
    assert (lesson.answer, lesson.answer_kind) == (AnswerFate.JOINED, AnswerKind.PLAIN)
    assert world.index.stats().answers == {AnswerKind.PLAIN: {AnswerFate.JOINED: 1}}
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=SAID)
    assert world.hit(follow_up()) == (ANSWERED, CONFIRMED)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (says("yes", calls="look()"), AnswerKind.CALLS),
        (says("yes", reasoning="because"), AnswerKind.REASONING),
        (says(calls="look()", reasoning="because"), AnswerKind.REASONING),
    ],
)
def test_one_kind_of_answer_that_joined_confirms_no_other(said, kind):
    world = World()
    converse(world, 1)
    assert converse(world, 2, said=said, turn=said).answer_kind is kind
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=says("x", reasoning="y"))
    assert world.hit(follow_up(says("x"))) == (ANSWERED, PREDICTED), "without its reasoning it is a kind of its own"


def test_an_answer_that_is_rendered_otherwise_is_reported_and_its_kind_not_believed_again():
    world = World()
    lesson = converse(world, 1, rendered=PROMPT + b"it was rendered otherwise" + NEXT)
    assert (lesson.answer, lesson.answer_kind, lesson.is_contradiction) == (AnswerFate.BROKEN, AnswerKind.PLAIN, False)
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=SAID)
    assert world.hit(follow_up()) == (ASKED, CONFIRMED)
    assert world.index.stats().answers == {AnswerKind.PLAIN: {AnswerFate.BROKEN: 1}}


def test_reasoning_that_the_client_drops_is_found_out_apart_from_reasoning_that_it_carries():
    world = World()
    said = says("it is sunny", reasoning="the sun shines, so")
    lesson = converse(world, 1, said=said, turn=says("it is sunny"), rendered=PROMPT + b"it is sunny" + NEXT)
    assert (lesson.answer, lesson.answer_kind) == (AnswerFate.BROKEN, AnswerKind.REASONING_DROPPED)
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=said)
    assert world.hit(follow_up(says("it is sunny"))) == (ASKED, CONFIRMED)
    assert world.hit(follow_up(said)) == (ANSWERED, PREDICTED)
    assert world.hit(follow_up(says("it is sunny", reasoning="other thoughts"))) == (ASKED, CONFIRMED)


def test_a_kind_that_broke_is_believed_again_once_enough_have_joined():
    world = World()
    converse(world, 0, rendered=PROMPT + b"it was rendered otherwise" + NEXT)
    for number in range(1, JOINED_PER_BREAK + 1):
        world.call(chain(SYSTEM, b"fresh" + ASK), SYSTEM + b"fresh" + ASK, REPLY, said=SAID)
        assert world.hit(follow_up(ask=b"fresh" + ASK))[0] == len(SYSTEM + b"fresh" + ASK) // BLOCK
        assert converse(world, number).answer is AnswerFate.JOINED
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=SAID)
    assert world.hit(follow_up()) == (ANSWERED, CONFIRMED)


def test_templates_are_believed_apart():
    world = World()
    converse(world, 1, rendered=PROMPT + b"it was rendered otherwise" + NEXT)
    other = chain(SYSTEM, ASK, root=b"another model")
    world.call(other, PROMPT, REPLY, said=SAID)
    assert world.hit(chain(SYSTEM, ASK, WRITTEN, NEXT, says=(2, SAID), root=b"another model")) == (ANSWERED, PREDICTED)


def test_blocks_decoded_last_are_joined_though_their_events_come_after_the_answer():
    world = World()
    computed = PROMPT + REPLY[:-1]
    world.apply(stored(computed, "c1", last=ASKED + 2))
    assert world.settle("c1", chain(SYSTEM, ASK), PROMPT, completion=len(REPLY), said=SAID).is_taught
    assert world.hit(follow_up()) == (ASKED + 2, PREDICTED)
    world.apply(stored(computed, "c1", first=ASKED + 2, last=ASKED + 4))
    assert world.hit(follow_up()) == (ASKED + 4, PREDICTED)
    world.apply(stored(computed, "c1", first=ASKED + 4))
    assert world.hit(follow_up()) == (ANSWERED, PREDICTED)
    assert (world.index.stats().num_taught, world.index.stats().num_pending) == (1, 0)


def test_blocks_decoded_before_the_prompt_was_taught_are_joined_when_it_is():
    world = World()
    computed = PROMPT + REPLY[:-1]
    assert world.settle("c1", chain(SYSTEM, ASK), PROMPT, completion=len(REPLY), said=SAID).is_pending
    world.apply(stored(computed, "c1"))
    assert world.hit(follow_up()) == (ANSWERED, PREDICTED)


def test_late_blocks_of_an_answer_change_nothing_once_the_conversation_has_gone_on():
    world = World()
    computed = PROMPT + REPLY[:-1]
    world.apply(stored(computed, "c1", last=ASKED + 2))
    world.settle("c1", chain(SYSTEM, ASK), PROMPT, completion=len(REPLY), said=SAID)
    assert world.call(follow_up(), PROMPT + REPLY + NEXT, first=ASKED + 2).answer is AnswerFate.JOINED
    before = learned(world)
    world.apply(stored(computed, "c1", first=ASKED + 2))
    assert learned(world) == before
    grown = chain(SYSTEM, ASK, WRITTEN, NEXT, b"more")
    assert world.confirmed(grown) == len(PROMPT + REPLY + NEXT) // BLOCK
    world.index.sweep(1.0 + PENDING_TTL_S)
    assert world.index.stats().num_untaught == 0


def test_the_newest_of_two_answers_to_one_prompt_is_remembered():
    world = World()
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=SAID)
    world.call(chain(SYSTEM, ASK), PROMPT, b"I do not know that, sorry", said=says("sorry"))
    assert world.hit(follow_up()) == (ASKED, CONFIRMED)
    assert world.hit(follow_up(says("sorry")))[0] == (len(PROMPT + b"I do not know that, sorry") - 1) // BLOCK


def test_an_answer_of_reasoning_alone_or_without_a_count_is_not_waited_for():
    world = World()
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=says(reasoning="hm"))
    assert world.hit(follow_up(says(reasoning="hm"))) == (ASKED, CONFIRMED)
    world.settle("c9", chain(SYSTEM, ASK), PROMPT, said=SAID)
    assert world.hit(follow_up()) == (ASKED, CONFIRMED)


def test_a_prompt_that_parts_before_the_answer_tells_nothing_of_it():
    world = World()
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=SAID)
    lesson = world.call(follow_up(), b"today is friday. " + PROMPT + REPLY + NEXT)
    assert (lesson.is_contradiction, lesson.answer) == (True, None)
    assert world.index.stats().answers == {}


def test_a_wholly_cached_turn_is_not_taught_by_the_belief_in_an_answer():
    world = World()
    converse(world, 1)
    world.call(chain(SYSTEM, ASK), PROMPT, REPLY, said=SAID)
    text = PROMPT + REPLY[:-1]
    assert len(text) // BLOCK == ANSWERED
    grown = chain(SYSTEM, ASK, WRITTEN, says=(2, SAID))
    assert world.hit(grown)[1] is CONFIRMED
    assert not world.settle("c9", grown, text, cached=(len(text) - 1) // BLOCK * BLOCK, completion=1).is_taught


def test_the_memory_of_answers_is_counted_and_given_back():
    world = World(max_evidence_bytes=1 << 20)
    for number in range(30):
        ask = b"%d: %b" % (number, ASK)
        world.call(chain(SYSTEM, ask), SYSTEM + ask, REPLY, said=SAID)
        if number % 3 == 0:
            world.call(follow_up(ask=ask), SYSTEM + ask + REPLY + NEXT)
        if number % 3 == 1:
            world.call(follow_up(ask=ask), SYSTEM + ask + b"otherwise" + NEXT)
    with_answers = world.index.stats().num_evidence_bytes
    assert with_answers > 0
    world.index._domains.trim(0)
    assert (world.index.stats().num_evidence_bytes, world.index.stats().num_evidence_entries) == (0, 0)
