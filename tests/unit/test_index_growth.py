"""Prompts that have grown under a template that breaks them: as much is believed as such growths had in common lately."""

import pytest
from tests.unit.letters import BLOCK, World, chain, chain_of, says

from turnwise.types import HitSource, SegmentKind

SYSTEM = b"a system prompt that all of them share. "


def turn(name, number):
    return f"<{name} {number}> said at some length. ".encode()


@pytest.fixture
def broken():
    """A world in which three conversations lost the last 40 bytes of their first turn when they grew."""
    world = World()
    for number in range(4):
        grow(world, number)
    return world


def grow(world, number):
    first, second = turn("user", number), turn("more", number)
    asked = SYSTEM + first + b"t" * 40
    world.call(chain(SYSTEM, first), asked)
    world.call(chain(SYSTEM, first, second), SYSTEM + first + second + b"t" * 40, first=len(SYSTEM + first) // BLOCK)


def test_what_such_growths_lost_lately_is_taken_from_what_is_believed(broken):
    first = turn("user", "new")
    asked = SYSTEM + first + b"t" * 40
    broken.call(chain(SYSTEM, first), asked)
    hit, source = broken.hit(chain(SYSTEM, first, b"and more"))
    assert source is HitSource.PREDICTED
    assert abs(hit - (len(asked) - 40) // BLOCK) <= 1


def test_a_prompt_that_comes_again_whole_is_believed_to_the_end(broken):
    first = turn("user", "new")
    asked = SYSTEM + first + b"t" * 40
    broken.call(chain(SYSTEM, first), asked)
    assert broken.confirmed(chain(SYSTEM, first)) == (len(asked) - 1) // BLOCK


def test_a_template_that_keeps_what_it_said_is_believed_as_before(broken):
    other = chain_of((SegmentKind.USER, SYSTEM), root=b"another model")
    broken.call(other, SYSTEM)
    grown = chain_of((SegmentKind.USER, SYSTEM), (SegmentKind.USER, b"more"), root=b"another model")
    assert broken.confirmed(grown) == len(SYSTEM) // BLOCK


def test_what_is_predicted_of_a_call_in_flight_is_cut_alike(broken):
    first = turn("user", "new")
    prompt, asked = chain(SYSTEM, first), SYSTEM + first + b"t" * 40
    broken.call(prompt, asked)
    broken.index.book("in flight", prompt, "b", len(asked), 2.0)
    hit = broken.index.residency(chain(SYSTEM, first, b"and more"), ["b"], 2.5).hits["b"]
    assert hit.source is HitSource.PREDICTED
    assert abs(hit.tokens - (len(asked) - 40)) <= 2 * BLOCK


def with_reasoning(number, *, has_any):
    """A prompt whose answer carries reasoning or does not, its text, and its next turn, of which the template drops it."""
    asked, said, last = turn("user", number), turn("answer", number), turn("last", number)
    thought = turn("thought", number) if has_any else b""
    prompt = chain(SYSTEM, asked, said, says=(2, says(said.decode(), reasoning=thought.decode())))
    grown = chain(SYSTEM, asked, said, last, says=(2, says(said.decode())))
    return prompt, SYSTEM + asked + thought + said, grown, SYSTEM + asked + said + last


def test_whether_there_is_reasoning_to_be_dropped_tells_growths_apart():
    world = World()
    for number in range(10):
        prompt, text, grown, longer = with_reasoning(number, has_any=number % 2 == 0)
        world.call(prompt, text)
        world.call(grown, longer)
    for number in (10, 11):
        prompt, text, grown, longer = with_reasoning(number, has_any=number % 2 == 0)
        world.call(prompt, text)
        common = next(at for at, (one, other) in enumerate(zip(text + b"!", longer, strict=False)) if one != other)
        assert abs(world.hit(grown)[0] - common // BLOCK) <= 1


def test_a_change_at_the_head_of_all_prompts_is_one_contradiction_and_what_is_taught_since_is_believed():
    world = World()
    for number in range(6):
        world.call(chain(SYSTEM, turn("user", number)), b"monday. " + SYSTEM + turn("user", number))
    for number in range(6):
        asked, more = turn("user", number), turn("more", number)
        prompt = chain(SYSTEM, asked, more)
        text = b"tuesday " + SYSTEM + asked + more
        before = world.confirmed(prompt)
        assert (before > 0) is (number == 0)
        world.call(prompt, text)
        assert world.confirmed(chain(SYSTEM, asked, more, b"again")) == len(text) // BLOCK
    assert world.index.stats().num_templates_whole_only == 0
