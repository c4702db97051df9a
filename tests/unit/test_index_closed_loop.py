"""Verdicts and weights: what one source claimed against what an engine found."""

import pytest

from turnwise.index.closed_loop import CREDIT_TOKENS, ClosedLoop, Finding, LastBlock, Score, Verdict, judge
from turnwise.types import HitSource

BLOCK = 16


@pytest.mark.parametrize(
    ("predicted", "scheduled", "reported", "verdict"),
    [
        (640, 640, 640, Verdict.RIGHT),
        (656, 640, 640, Verdict.RIGHT),
        (640, 0, 0, Verdict.EVICTED_WHILE_WAITING),
        (0, 640, 640, Verdict.ARRIVED_WHILE_WAITING),
        (640, 640, 0, Verdict.WRONG),
        (0, 640, 0, Verdict.WRONG),
        (640, None, 640, Verdict.RIGHT),
        (640, None, 0, Verdict.WRONG),
        (0, None, 640, Verdict.WRONG),
    ],
)
def test_a_decision_is_judged_by_what_the_index_said_when_the_engine_looked(predicted, scheduled, reported, verdict):
    assert judge(predicted, scheduled, reported, BLOCK) is verdict


def test_each_error_is_counted_under_one_verdict_and_errors_within_a_block_under_none():
    score = Score(HitSource.CONFIRMED)
    score.note(1000, 640, 640, Finding(Verdict.RIGHT, 640))
    score.note(1000, 640, 630, Finding(Verdict.RIGHT, 640))
    score.note(1000, 640, 0, Finding(Verdict.EVICTED_WHILE_WAITING, 0))
    score.note(1000, 0, 320, Finding(Verdict.ARRIVED_WHILE_WAITING, 320))
    score.note(1000, 640, 80, Finding(Verdict.WRONG, 640))
    score.note(1000, 640, 600, Finding(Verdict.WRONG))
    stats = score.stats
    assert (stats.num_calls, stats.num_checked, stats.num_right_when_scheduled) == (6, 5, 4)
    assert (stats.prompt_tokens, stats.predicted_tokens, stats.reported_tokens) == (6000, 3200, 2270)
    assert (stats.evicted_tokens, stats.arrived_tokens, stats.wrong_tokens) == (640, 320, 600)
    assert stats.error_tokens == 10 + sum(stats.error_tokens_by_verdict.values())


def test_a_source_that_is_right_or_says_too_little_weighs_one():
    score = Score(HitSource.CONFIRMED)
    assert not any(score.trust(640, found, BLOCK) for found in (640, 624, 2000, 640) * 10)
    assert score.weight == 1.0
    assert not score.is_distrusted


def test_one_slip_of_a_good_source_changes_nothing():
    score = Score(HitSource.CONFIRMED)
    for _ in range(20):
        score.trust(640, 640, BLOCK)
    assert not score.trust(640, 0, BLOCK)
    assert score.weight == 1.0


def test_a_source_that_lies_loses_weight_until_it_is_distrusted_and_regains_it_when_right():
    score = Score(HitSource.PREDICTED)
    weights = []
    while not score.is_distrusted:
        assert score.trust(640, 0, BLOCK)
        weights.append(score.weight)
        assert len(weights) <= 5
    assert weights == sorted(weights, reverse=True)
    num_right = 0
    while score.weight != 1.0:
        score.trust(640, 640, BLOCK)
        num_right += 1
        assert num_right <= 25
    assert not score.is_distrusted


def test_claims_far_smaller_than_the_credit_never_condemn_a_source():
    score = Score(HitSource.PREDICTED)
    for _ in range(100):
        score.trust(int(CREDIT_TOKENS / 50), 0, tolerance=0)
    assert 0.5 < score.weight < 1.0


def test_the_scores_of_a_replica_are_told_for_each_source_that_decided_and_its_complaint_names_the_distrusted():
    loop = ClosedLoop()
    assert loop.stats == ()
    assert loop.complaint == ""
    loop.of(HitSource.NONE).note(100, 0, 0, Finding(Verdict.RIGHT))
    loop.of(HitSource.PREDICTED).note(100, 96, 0, Finding(Verdict.WRONG))
    assert [(told.source, told.num_calls) for told in loop.stats] == [(HitSource.PREDICTED, 1), (HitSource.NONE, 1)]
    assert not loop.is_weighed
    for _ in range(10):
        loop.confirmed.trust(640, 0, BLOCK)
    assert loop.is_weighed
    assert loop.complaint.startswith("confirmed claims are distrusted: ")


def test_a_last_block_that_is_always_missing_is_taken_for_dropped_after_sixteen_hits_in_a_row():
    last = LastBlock()
    moved = [last.note(640, 640 - BLOCK, BLOCK) for _ in range(20)]
    assert moved.index(True) == 15
    assert moved.count(True) == 1
    assert last.is_dropped


@pytest.mark.parametrize("found", [0, 640 - 2 * BLOCK, 640 + BLOCK, 630])
def test_what_is_short_by_more_or_less_than_a_block_says_nothing_of_the_last_one(found):
    last = LastBlock()
    for _ in range(100):
        last.note(640, found, BLOCK)
    last.note(0, 0, BLOCK)
    for _ in range(15):
        last.note(640, 640 - BLOCK, BLOCK)
    assert not last.is_dropped


def test_a_block_that_is_missing_now_and_then_is_not_dropped():
    last = LastBlock()
    for number in range(300):
        last.note(640, 640 - BLOCK * (number % 3 == 0), BLOCK)
    assert not last.is_dropped


def test_an_engine_that_keeps_its_last_block_again_is_found_out_after_seven_hits():
    last = LastBlock()
    for _ in range(50):
        last.note(640, 640 - BLOCK, BLOCK)
    moved = [last.note(640, 640, BLOCK) for _ in range(10)]
    assert moved.index(True) == 6
    assert not last.is_dropped
