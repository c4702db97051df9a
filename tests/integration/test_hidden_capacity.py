"""Replicas that tell neither their size nor their events, and restart in silence: what is predicted of them."""

import logging

import pytest
from bench.knowledge.hidden import WARM_UP_CALLS, Shape, measure

from turnwise.settings import IndexSettings
from turnwise.types import HitSource

RESTARTED = measure()


def test_after_200_calls_predictions_are_right_in_the_sum_across_a_silent_restart():
    assert len(RESTARTED.calls) == Shape().calls
    assert abs(RESTARTED.predicted_of_reported - 1) <= 0.05
    assert RESTARTED.error_of_reported <= 0.05
    assert RESTARTED.error_of_prompt <= 0.05


def test_the_cache_is_small_enough_that_a_plain_guess_would_be_wrong():
    calls = RESTARTED.calls[WARM_UP_CALLS:]
    assert 0.2 <= sum(call.reported for call in calls) / sum(call.prompt for call in calls) <= 0.7


def test_the_size_of_the_cache_is_learned_within_a_tenth():
    (stats,) = RESTARTED.replicas.values()
    assert stats.effective_tokens == pytest.approx(Shape().num_blocks * 16, rel=0.1)
    assert stats.evicted_tokens_per_s > 0


def test_a_silent_restart_is_noticed_within_three_answers_and_told_once():
    (stats,) = RESTARTED.replicas.values()
    assert stats.num_silent_restarts == 1
    assert stats.emptied_at is not None
    after = [call for call in RESTARTED.calls if call.answers_since is not None]
    lost = [call.predicted - call.reported for call in after[:40] if call.answers_since >= 3]
    assert len(lost) > 25
    # The first call to be looked at after the loss is the one that finds nothing: a longer answer may come after three others.
    assert sum(tokens > 64 for tokens in lost) <= 1


def test_a_silent_restart_is_one_line_of_log(caplog):
    with caplog.at_level(logging.WARNING, "turnwise.calls"):
        measure(Shape(calls=220, restart_at=180))
    (line,) = [record.msg for record in caplog.records if record.msg["event"] == "silent_restart"]
    assert line["replica"] == "r0"


@pytest.mark.parametrize("shape", [Shape(replicas=2, num_blocks=1000), Shape(num_blocks=3200, conversations=60)])
def test_other_shapes_are_learned_as_well(shape):
    figures = measure(shape, seed=2)
    assert abs(figures.predicted_of_reported - 1) <= 0.05
    assert figures.error_of_reported <= 0.06
    assert [stats.num_silent_restarts for stats in figures.replicas.values()] == [1] * shape.replicas


def test_no_restart_is_seen_where_there_was_none():
    (stats,) = measure(Shape(restart_at=None, calls=300)).replicas.values()
    assert stats.num_silent_restarts == 0


def measure_roomy(template):
    """Calls to a cache that loses nothing; 200 of them to learn."""
    return measure(Shape(restart_at=None, calls=300, num_blocks=20_000, stated_blocks=20_000, template=template))


def weight(figures):
    (stats,) = figures.replicas.values()
    return next(score.weight for score in stats.loop if score.source is HitSource.PREDICTED)


def test_a_template_that_never_matches_again_is_noticed_within_200_calls_and_hardly_predicted_then():
    figures = measure_roomy("dated")
    (stats,) = figures.replicas.values()
    assert weight(figures) < 0.15
    assert "predicted claims are distrusted" in stats.complaint
    assert (stats.num_silent_restarts, stats.effective_tokens) == (0, 320_000)
    calls = figures.calls[WARM_UP_CALLS:]
    assert sum(abs(call.predicted - call.reported) for call in calls) <= 0.1 * sum(call.prompt for call in calls)


@pytest.mark.parametrize("stated_blocks", [None, 20_000])
@pytest.mark.parametrize("reasoning_share", [0.5, 1.0])
def test_a_template_that_drops_old_reasoning_is_not_taken_for_a_small_cache(reasoning_share, stated_blocks):
    shape = Shape(
        restart_at=None,
        calls=300,
        num_blocks=20_000,
        stated_blocks=stated_blocks,
        template="drops_reasoning",
        reasoning_share=reasoning_share,
    )
    figures = measure(shape, seed=2)
    (stats,) = figures.replicas.values()
    assert stats.effective_tokens >= 320_000
    assert stats.num_silent_restarts == 0
    assert stats.num_unexplained_losses > 50
    assert figures.error_of_prompt <= 0.12


@pytest.mark.parametrize(("calls", "seed"), [(40, 2), (40, 3), (100, 3)])
def test_not_even_the_first_prompts_that_a_template_renders_anew_are_taken_for_a_small_cache(calls, seed):
    template = {"template": "drops_reasoning", "reasoning_share": 0.5}
    (stats,) = measure(Shape(restart_at=None, calls=calls, num_blocks=20_000, **template), seed).replicas.values()
    assert stats.effective_tokens == IndexSettings().max_predicted_tokens


def test_a_template_that_extends_keeps_its_full_weight():
    figures = measure_roomy("plain")
    assert weight(figures) == 1.0
    assert figures.replicas["r0"].complaint == ""


def test_evictions_and_a_silent_restart_cost_no_weight():
    assert weight(RESTARTED) == 1.0
