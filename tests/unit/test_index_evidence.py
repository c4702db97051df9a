"""What is believed of a prompt from the chains that engines taught; a byte is a token, a block is four."""

import tracemalloc
from itertools import pairwise

import pytest
import xxhash

from turnwise.index.entries import PAIRS_PER_WINDOW
from turnwise.index.estimate import BytesPerToken, tokens_at
from turnwise.index.evidence import Evidence
from turnwise.index.trust import CONFIRMATIONS_TO_FORGIVE, MAX_CONTRADICTIONS
from turnwise.types import Answer, Digest, PromptChain

BLOCK = 4


def prompt(*parts):
    """The chain of a prompt whose segments are `parts`."""
    ends = [sum(map(len, parts[: end + 1])) for end in range(len(parts))]
    return PromptChain(digests=tuple(Digest(repr(parts[: end + 1]).encode()) for end in range(len(parts))), ends=tuple(ends))


def blocks(text):
    """Hashes of the full blocks of a rendered prompt."""
    return [xxhash.xxh3_64_intdigest(text[:end].encode()) & ((1 << 60) - 1) for end in range(BLOCK, len(text) + 1, BLOCK)]


def teach(evidence, *parts, rendered=None, is_counted=True):
    """Teach a prompt as an engine renders it, walking only to where a stop is known."""
    chain = prompt(*parts)
    text = "".join(parts) if rendered is None else rendered
    hashes = blocks(text)
    stops = evidence.stops(chain, BLOCK)
    kept = next((count for count in range(len(hashes), 0, -1) if hashes[count - 1] in stops), 0)
    base, depth = stops[hashes[kept - 1]] if kept else (None, 0)
    assert depth == kept
    return evidence.teach(
        chain,
        base=base,
        kept=kept,
        added=hashes[kept:],
        anchors=((len(parts) - 1, len(text)),),
        bytes_per_token=1.0,
        is_counted=is_counted,
        block_size=BLOCK,
    )


def believed(evidence, *parts):
    """The blocks believed to be the prompt's, and how many by the engine's word."""
    known = evidence.resolve(prompt(*parts), BLOCK)
    return list(known.chain.blocks[: known.num_blocks]) if known.chain else [], known.taught_blocks


SYSTEM = "you are a helpful assistant"


def test_a_whole_prompt_is_known_exactly_when_it_comes_again():
    evidence = Evidence()
    teach(evidence, SYSTEM, "hello there")
    assert believed(evidence, SYSTEM, "hello there") == (blocks(SYSTEM + "hello there"), 9)
    assert evidence.resolve(prompt(SYSTEM, "hello there"), BLOCK).anchors == ((1, 38),)


def test_a_grown_prompt_is_known_as_far_as_its_shorter_form():
    evidence = Evidence()
    teach(evidence, SYSTEM, "hello there")
    assert believed(evidence, SYSTEM, "hello there", "general", "kenobi") == (blocks(SYSTEM + "hello there"), 9)


def test_one_growing_session_keeps_one_array():
    evidence = Evidence()
    parts = [SYSTEM]
    for turn in range(30):
        parts.append(f"message number {turn}")
        teach(evidence, *parts)
    chains = {id(evidence.resolve(prompt(*parts[:end]), BLOCK).chain) for end in range(2, len(parts) + 1)}
    assert len(chains) == 1
    assert all(believed(evidence, *parts[:end])[0] == blocks("".join(parts[:end])) for end in range(2, len(parts) + 1))


def test_a_shared_prefix_is_first_estimated_and_then_told_by_the_common_prefix_of_two_prompts():
    evidence = Evidence()
    teach(evidence, SYSTEM, "alpha")
    assert believed(evidence, SYSTEM, "other") == (blocks(SYSTEM)[:5], 0)
    teach(evidence, SYSTEM, "bravo")
    assert believed(evidence, SYSTEM, "other") == (blocks(SYSTEM), 6)


def test_a_chain_that_another_prompt_lengthened_is_compared_at_its_former_length():
    evidence = Evidence()
    system = "you are a helpful assistant."
    teach(evidence, system, "ab")
    teach(evidence, system, "some question of many words")
    assert believed(evidence, system, "other") == (blocks(system), len(system) // BLOCK)


def test_an_accidental_common_beginning_is_corrected_by_the_next_pair():
    evidence = Evidence()
    teach(evidence, SYSTEM, "write me a poem")
    teach(evidence, SYSTEM, "write me a song")
    assert believed(evidence, SYSTEM, "is it raining?")[1] == 9
    teach(evidence, SYSTEM, "is it raining?")
    assert believed(evidence, SYSTEM, "zero") == (blocks(SYSTEM), 6)


def test_a_common_prefix_recovers_after_a_change_of_template():
    evidence = Evidence()
    for day in ("mon", "tue"):
        for number in range(PAIRS_PER_WINDOW + 1):
            question = f"{number}: what do we have on {day}?"
            teach(evidence, SYSTEM, question, rendered=day + SYSTEM + question)
    assert believed(evidence, SYSTEM, "x")[0] == blocks("tue" + SYSTEM)


def test_a_template_that_drops_something_on_growth_contradicts_itself_and_keeps_the_common_part():
    evidence = Evidence()
    teach(evidence, SYSTEM, "question", "thought: long reasoning")
    lesson = teach(evidence, SYSTEM, "question", "thought: long reasoning", "answer", rendered=SYSTEM + "questionanswer")
    assert lesson.is_contradiction
    common = len(SYSTEM + "question") // BLOCK
    assert believed(evidence, SYSTEM, "question", "thought: long reasoning", "else") == (
        blocks(SYSTEM + "question")[:common],
        common,
    )


def contradict(evidence, number):
    teach(evidence, f"{number}{SYSTEM}", "thought: why?")
    return teach(evidence, f"{number}{SYSTEM}", "thought: why?", "done", rendered=f"{number}{SYSTEM}done and done")


def test_after_a_few_contradictions_growth_is_no_longer_trusted_but_an_exact_repeat_is():
    evidence = Evidence()
    for number in range(MAX_CONTRADICTIONS):
        assert evidence.trust.trusts_growth(b"")
        assert contradict(evidence, number).is_contradiction
    assert not evidence.trust.trusts_growth(b"")
    teach(evidence, "fresh prompt", "with an end")
    assert believed(evidence, "fresh prompt", "with an end", "more")[1] == 0
    assert believed(evidence, "fresh prompt", "with an end")[1] == 5


def test_enough_agreement_in_a_row_restores_trust():
    evidence = Evidence()
    for number in range(MAX_CONTRADICTIONS):
        contradict(evidence, number)
    parts = ["a fresh prompt"]
    for turn in range(CONFIRMATIONS_TO_FORGIVE + 1):
        assert not evidence.trust.trusts_growth(b"")
        parts.append(f"message {turn}")
        teach(evidence, *parts)
    assert evidence.trust.trusts_growth(b"")


def test_a_prompt_that_ends_where_another_goes_on_shares_its_chain():
    evidence = Evidence()
    teach(evidence, SYSTEM, "hello there", "general kenobi")
    bytes_before = evidence.num_bytes
    teach(evidence, SYSTEM, "hello there")
    assert believed(evidence, SYSTEM, "hello there") == (blocks(SYSTEM + "hello there"), 9)
    assert evidence.num_bytes == bytes_before


def test_an_uncounted_prompt_is_an_estimate_and_never_outweighs_a_counted_one():
    evidence = Evidence()
    teach(evidence, SYSTEM, "hello there", is_counted=False)
    assert believed(evidence, SYSTEM, "hello there")[1] == 0
    teach(evidence, SYSTEM, "hello there")
    teach(evidence, SYSTEM, "hello there", is_counted=False)
    assert believed(evidence, SYSTEM, "hello there")[1] == 9


def test_an_uncounted_chain_that_ends_early_contradicts_nothing():
    evidence = Evidence()
    teach(evidence, SYSTEM, "hello there")
    chain = prompt(SYSTEM, "hello there", "again")
    added = blocks(SYSTEM + "hello there")[:5]
    assert not evidence.teach(
        chain,
        base=None,
        kept=0,
        added=added,
        anchors=((0, 27), (1, 38)),
        bytes_per_token=1.0,
        is_counted=False,
        block_size=BLOCK,
    ).is_contradiction
    assert believed(evidence, SYSTEM, "hello there", "general") == (blocks(SYSTEM + "hello there"), 9)


def test_an_estimate_never_reaches_past_the_chain_it_speaks_of():
    evidence = Evidence()
    added = blocks(SYSTEM)[:3]
    evidence.teach(
        prompt(SYSTEM, "hello"),
        base=None,
        kept=0,
        added=added,
        anchors=(),
        bytes_per_token=1.0,
        is_counted=False,
        block_size=BLOCK,
    )
    assert believed(evidence, SYSTEM, "other") == (added, 0)
    assert set(evidence.stops(prompt(SYSTEM, "hello"), BLOCK)) == {added[-1]}


def test_a_prompt_shorter_than_a_block_teaches_its_length():
    evidence = Evidence()
    teach(evidence, "hi")
    known = evidence.resolve(prompt("hi"), BLOCK)
    assert (known.is_taught, known.num_blocks, known.anchors) == (True, 0, ((0, 2),))


def test_eviction_takes_the_oldest_prompt_tail_first_and_gives_back_all_memory():
    evidence = Evidence()
    teach(evidence, SYSTEM, "first")
    teach(evidence, SYSTEM, "second")
    evidence.evict_one()
    assert believed(evidence, SYSTEM, "first")[0] == blocks(SYSTEM)
    assert believed(evidence, SYSTEM, "second")[0] == blocks(SYSTEM + "second")
    while len(evidence):
        evidence.evict_one()
    assert evidence.num_bytes == 0


def test_a_session_that_goes_on_outlives_another_with_all_that_it_goes_through():
    evidence = Evidence()
    teach(evidence, "first", "turn one")
    teach(evidence, "second", "turn one")
    teach(evidence, "first", "turn one", "turn two")
    for _ in range(2):
        evidence.evict_one()
    assert believed(evidence, "second", "turn one") == ([], 0)
    assert believed(evidence, "first", "turn one", "turn two")[0] == blocks("firstturn oneturn two")


def test_a_prompt_that_comes_again_outlives_what_once_went_on_from_it():
    evidence = Evidence()
    teach(evidence, "first", "turn one", "turn two")
    teach(evidence, "second", "turn one")
    teach(evidence, "first", "turn one")
    for _ in range(3):
        evidence.evict_one()
    assert believed(evidence, "second", "turn one") == ([], 0)
    assert believed(evidence, "first", "turn one") == (blocks("firstturn one"), 3)
    assert len(evidence) == 2


def test_a_walk_may_stop_near_wherever_a_long_prompt_parts_from_the_known_one():
    evidence = Evidence()
    parts = [SYSTEM, *(f"message number {number}" for number in range(200))]
    teach(evidence, *parts)
    hashes = blocks("".join(parts))
    stops = evidence.stops(prompt(*parts, "more"), BLOCK)
    assert len(stops) < 20
    assert all(chain.blocks[count - 1] == hashes[count - 1] == block for block, (chain, count) in stops.items())
    counts = sorted((count for _, count in stops.values()), reverse=True)
    assert counts[0] == len(hashes)
    for count, further in pairwise(counts):
        assert count - further <= 2 * BLOCK + (len(hashes) - count)


@pytest.mark.parametrize("num_turns", [2, 40])
@pytest.mark.parametrize("has_answers", [False, True])
def test_the_memory_counted_is_no_less_than_what_python_took(num_turns, has_answers):
    sessions = [[(f"{session} {turn} " + "word " * 50) for turn in range(num_turns)] for session in range(400 // num_turns)]
    lessons = []
    for parts in sessions:
        for end in range(1, num_turns + 1):
            chain = prompt(*parts[:end])
            digests = tuple(Digest(xxhash.xxh3_128_digest(digest)) for digest in chain.digests)
            lessons.append((PromptChain(digests=digests, ends=chain.ends), blocks("".join(parts[:end]))))
    evidence = Evidence()
    tracemalloc.start()
    try:
        for chain, hashes in lessons:
            stops = evidence.stops(chain, BLOCK)
            kept = next((count for count in range(len(hashes), 0, -1) if hashes[count - 1] in stops), 0)
            base = stops[hashes[kept - 1]][0] if kept else None
            end = (len(chain.ends) - 1, chain.num_bytes)
            evidence.teach(
                chain,
                base=base,
                kept=kept,
                added=hashes[kept:],
                anchors=(end,),
                bytes_per_token=1.0,
                is_counted=True,
                block_size=BLOCK,
            )
            if has_answers:
                said = Answer(*(xxhash.xxh3_64_intdigest(part + chain.digests[-1]) for part in (b"text", b"calls", b"thought")))
                decoded = blocks(f"{len(hashes)} " + "decoded " * 50)
                evidence.answer(chain, said, chain.num_bytes + 400, len(hashes), decoded)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    digest_bytes = 49 * len(evidence)
    assert 0.4 * evidence.num_bytes < taken + digest_bytes <= evidence.num_bytes


def test_bytes_per_token_starts_from_the_setting_and_follows_what_was_counted():
    rate = BytesPerToken(4.0)
    assert rate.value == 4.0
    rate.learn(3000, 1000)
    assert rate.value == 3.0
    rate.learn(0, 10)
    rate.learn(10, 0)
    assert rate.value == 3.0
    for _ in range(100):
        rate.learn(5000, 1000)
    assert rate.value == pytest.approx(5.0, abs=0.02)


def test_tokens_are_exact_at_anchors_shared_by_bytes_between_them_and_by_rate_after():
    ends, anchors = (100, 200, 300, 400), ((1, 50), (2, 100))
    assert [tokens_at(ends, anchors, 4.0, boundary) for boundary in range(4)] == [25, 50, 100, 125]
    assert [tokens_at((0, 0, 8), ((1, 7),), 4.0, boundary) for boundary in range(3)] == [0, 7, 9]
    assert tokens_at((100,), (), 4.0, 0) == 25
