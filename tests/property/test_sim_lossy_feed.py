"""The index against what embedded engines hold, behind feeds that lose, delay and double what they bring."""

import pytest
from bench.knowledge.lossy import LossyPlan, measure
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

SHARES = st.sampled_from((0.0, 0.1, 0.3))
SEEDS = st.integers(0, 10_000)
# A whole fleet runs for every example: a failing plan says enough as it is, and to shrink it would take minutes.
UNSHRUNK = {"deadline": None, "phases": (Phase.explicit, Phase.reuse, Phase.generate)}


def check_equal(figures):
    assert (figures.num_missing, figures.num_surplus, figures.num_wrong_depths) == (0, 0, 0)
    assert set(figures.feeds) == {"live"}


@pytest.mark.parametrize("seed", range(5))
def test_with_a_tenth_dropped_and_a_tenth_overtaken_the_index_is_the_truth_once_all_is_quiet(seed):
    figures = measure(LossyPlan(seed=seed, ends_heard=False))
    check_equal(figures)
    assert figures.num_removed > 50
    assert figures.num_prompts > figures.num_calls


@settings(max_examples=12, **UNSHRUNK)
@given(SEEDS, SHARES, SHARES, SHARES, st.integers(1, 3), st.integers(60, 140), st.integers(1, 10), st.integers(1, 4))
def test_whatever_a_feed_loses_the_index_is_the_truth_once_all_is_quiet(
    seed, drop, reorder, duplicate, num_replicas, num_blocks, num_conversations, num_turns
):
    plan = LossyPlan(
        seed=seed,
        drop=drop,
        reorder=reorder,
        duplicate=duplicate,
        num_replicas=num_replicas,
        num_blocks=num_blocks,
        num_conversations=num_conversations,
        num_turns=num_turns,
    )
    check_equal(measure(plan))


@settings(max_examples=6, **UNSHRUNK)
@given(SEEDS, SHARES, SHARES, st.integers(1, 4))
def test_engines_that_restart_on_the_way_are_known_as_they_are_in_the_end(seed, drop, reorder, num_restarts):
    check_equal(measure(LossyPlan(seed=seed, drop=drop, reorder=reorder, num_restarts=num_restarts)))


@settings(max_examples=6, **UNSHRUNK)
@given(SEEDS, st.integers(0, 6))
def test_where_replay_is_too_old_nothing_is_believed_that_is_not_there(seed, event_buffer):
    assert measure(LossyPlan(seed=seed, drop=0.3, event_buffer=event_buffer)).num_surplus == 0


@settings(max_examples=6, **UNSHRUNK)
@given(SEEDS, SHARES)
def test_nonsense_among_events_fails_no_call_and_makes_nothing_believed_that_is_not_there(seed, drop):
    assert measure(LossyPlan(seed=seed, drop=drop, nonsense=0.1)).num_surplus == 0
