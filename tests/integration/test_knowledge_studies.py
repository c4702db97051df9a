"""What the proxy knows of embedded engines whose templates break prefixes, and of engines that were warm before it came."""

import pytest
from bench.knowledge import faults, naming, templates, warm

from turnwise.engines.sim.template import TEMPLATE_STYLES
from turnwise.proxy.lint import Cause

EXTENDING = ("plain", "tools_after_system", "tools_before_system")
AT_EVERY_TURN = {"drops_reasoning": 0.05, "tools_before_last_user": 0.14, "trims": 0.06}
"""Templates that break prefixes at every turn, with how far predictions may be off, as a share of the prompts: what was sent,
taken as it is, is off by 0.09, 0.21 and 0.07."""


def study(style, num_conversations=12):
    return templates.measure(templates.TemplatePlan(style=style, num_conversations=num_conversations, num_turns=4, day_s=20.0))


@pytest.mark.parametrize("style", TEMPLATE_STYLES)
def test_a_wrong_belief_about_a_prefix_is_not_acted_upon_twice(style):
    figures = study(style)
    assert figures.num_wrong_again == 0
    assert figures.num_confirmed > 0 or style in AT_EVERY_TURN
    if style in EXTENDING:
        assert figures.num_wrong == 0


@pytest.mark.parametrize("style", AT_EVERY_TURN)
def test_what_a_template_breaks_at_every_turn_is_predicted_as_far_as_it_reaches(style):
    figures = study(style, num_conversations=24)
    assert figures.error_tokens <= AT_EVERY_TURN[style] * figures.prompt_tokens
    assert abs(figures.predicted_tokens / figures.reported_tokens - 1) <= 0.06


def test_a_template_that_tells_the_date_costs_one_wrong_belief_a_day_and_is_believed_on_the_next_turn():
    figures = templates.measure(templates.TemplatePlan(style="dated", num_turns=6))
    assert figures.num_wrong == 1
    assert figures.num_confirmed >= figures.num_calls / 2


def test_the_study_meets_wrong_beliefs():
    for style in ("drops_reasoning", "dated"):
        assert study(style).num_wrong > 0


def test_a_proxy_before_warm_engines_knows_them_at_once_by_replay():
    figures = warm.measure(warm.WarmPlan(num_conversations=6, num_turns_after=3, event_buffer=10_000))
    assert [turn.num_known for turn in figures.turns] == [6, 6, 6]
    assert figures.num_missing_heads == figures.num_surplus == 0


def test_without_replay_the_heads_that_are_missing_are_counted_and_nothing_false_is_believed():
    figures = warm.measure(warm.WarmPlan(num_conversations=6, num_turns_after=3))
    assert figures.num_missing_heads > 0
    assert figures.num_surplus == 0


def test_without_replay_one_full_report_a_conversation_brings_the_heads_that_are_missing():
    turns = warm.measure(warm.WarmPlan(num_conversations=6, num_turns_after=3)).turns
    assert [turn.num_known for turn in turns] == [0, 6, 6]
    assert [turn.num_full_reports for turn in turns] == [0, 6, 0]


def test_the_row_of_a_lossy_feed_holds_and_says_what_was_done():
    row = faults.measure_lossy(seed=3, num_runs=2)
    assert row.holds
    assert row.measured.startswith("0 of ")
    assert row.figures["blocks evicted"] > 100
    assert row.figures["wrong depths"] == 0


def test_the_row_of_warm_engines_holds_only_once_all_is_known():
    row = faults.measure_warm(seed=3)
    assert row.holds == (row.measured in {"1", "2"})
    assert row.figures["blocks falsely believed"] == 0


def test_the_row_of_causes_counts_the_habits_of_clients_and_every_break_under_a_template():
    row = naming.measure(seed=3, num_seeds=1)
    assert row.holds
    assert row.figures["cases"] > row.figures["causes of clients"] + len(naming.BREAKING)
    assert row.figures["false alarms"] == 0


def test_a_cause_that_is_not_named_fails_the_row(monkeypatch):
    monkeypatch.setitem(naming.BREAKING, "trims", Cause.TEMPLATE_DROPS_REASONING)
    row = naming.measure(seed=3, num_seeds=1)
    assert not row.holds
    assert row.figures["trims %"] == 0
