"""The runtime table: what it tells of tools by what they did."""

import math
import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.forecast.curve import Ranks, censored
from turnwise.tools_gateway.values import Fate, ToolKey, UpstreamName

KEY = ToolKey(UpstreamName("files"), "read")
OTHER = ToolKey(UpstreamName("files"), "write")
ELSEWHERE = ToolKey(UpstreamName("web"), "fetch")


def observed(values, key=KEY, *, fate=Fate.SUCCESS, size=10, table=None):
    table = table or RunTable()
    for at, value in enumerate(values):
        table.observe(key, size, value, fate, float(at))
    return table


def lognormal(seed, num, median, sigma=0.5):
    chance = random.Random(seed)
    return [median * math.exp(chance.gauss(0, sigma)) for _ in range(num)]


def covered(table, values, size=10):
    """Share of values within the band told before each of them came."""
    within = 0
    for value in values:
        forecast = table.forecast(KEY, size)
        within += forecast.p10_s <= value <= forecast.p90_s
        table.observe(KEY, size, value, Fate.SUCCESS, 0.0)
    return within / len(values)


def test_quantiles_are_those_of_what_was_seen():
    forecast = observed(lognormal(1, 200, 2.0)).forecast(KEY, 10)
    truth = [2.0 * math.exp(0.5 * NormalDist().inv_cdf(share)) for share in (0.1, 0.5, 0.9)]
    assert [forecast.p10_s, forecast.p50_s, forecast.p90_s] == pytest.approx(truth, rel=0.2)
    assert forecast.num_samples == 200


def test_the_band_covers_four_of_five_runs():
    values = lognormal(2, 1000, 0.3, 1.0)
    assert 0.77 < covered(observed(values[:50]), values[50:]) < 0.83


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_change_by_a_factor_of_ten_is_followed_within_fifty_runs(factor):
    table = observed(lognormal(3, 300, 1.0, 0.8))
    observed(lognormal(4, 50, factor, 0.8), table=table)
    assert 0.74 < covered(table, lognormal(5, 300, factor, 0.8)) < 0.86
    forecast = table.forecast(KEY, 10)
    assert forecast.p50_s == pytest.approx(factor, rel=0.3)


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_after_a_change_nothing_of_before_is_left_in_the_band(factor):
    table = observed(lognormal(3, 300, 7.0, 0.02))
    observed(lognormal(4, 12, 7.0 * factor, 0.02), table=table)
    forecast = table.forecast(KEY, 10)
    assert 3.5 * factor < forecast.p10_s < forecast.p90_s < 14.0 * factor
    assert forecast.num_samples == 12


def test_what_does_not_change_is_not_forgotten():
    assert observed(lognormal(6, 3000, 1.0, 1.5)).forecast(KEY, 10).num_samples == 200


def test_runs_that_were_cut_off_tell_as_kaplan_and_meier_say():
    # With one run more at risk: 1 - (6/7), 1 - (6/7)(4/5), 1 - (6/7)(4/5)(1/2).
    curve = censored([1.0, 3.0, 5.0], [2.0, 3.5, 4.0])
    assert [curve.below(seconds) for seconds in (1.0, 3.0)] == pytest.approx([1 / 7, 11 / 35])
    assert curve.at(23 / 35) == pytest.approx(5.0)


def test_of_two_runs_of_one_length_the_one_that_was_cut_off_lasted_longer():
    curve = censored([2.0, 4.0], [2.0])
    assert curve.below(2.0) == pytest.approx(1 / 4)
    assert curve.at(5 / 8) == pytest.approx(4.0)


def test_without_runs_cut_off_kaplan_and_meier_give_plain_ranks():
    values = sorted(lognormal(7, 30, 1.0))
    plain, general = Ranks(values), censored(values, [])
    for share in (0.01, 0.1, 0.33, 0.5, 0.9, 0.99):
        assert general.at(share) == pytest.approx(plain.at(share))
    for seconds in (0.01, 0.7, 1.0, 1.3, 99.0):
        assert general.below(seconds) == pytest.approx(plain.below(seconds))


def test_a_timeout_tells_of_a_run_that_is_longer_than_that():
    values = lognormal(8, 150, 1.0, 1.0)
    deadline = sorted(values)[105]
    table = RunTable()
    for value in values:
        fate = Fate.TIMEOUT if value > deadline else Fate.SUCCESS
        table.observe(KEY, 10, min(value, deadline), fate, 0.0)
    forecast, whole = table.forecast(KEY, 10), observed(values).forecast(KEY, 10)
    assert forecast.p50_s == pytest.approx(whole.p50_s, rel=0.02)
    assert forecast.p90_s == pytest.approx(deadline)


def test_a_tool_that_times_out_now_and_then_is_not_taken_for_changed():
    table = RunTable()
    for value in lognormal(12, 3000, 1.0, 1.0):
        table.observe(KEY, 10, min(value, 1.5), Fate.TIMEOUT if value > 1.5 else Fate.SUCCESS, 0.0)
    assert table.forecast(KEY, 10).num_samples == 200


def test_a_tool_that_is_cancelled_now_and_then_is_not_taken_for_changed():
    table = RunTable()
    for value in lognormal(13, 3000, 1.0, 1.0):
        table.observe(KEY, 10, value, Fate.SUCCESS, 0.0)
        table.observe(KEY, 10, 0.05, Fate.CANCELLED, 0.0)
    assert table.forecast(KEY, 10).num_samples == 200


def test_runs_that_nobody_waited_for_do_not_shorten_the_forecast():
    values = lognormal(9, 200, 1.0, 0.3)
    table = observed(values)
    for _ in range(150):
        table.observe(KEY, 10, 0.05, Fate.CANCELLED, 0.0)
    assert table.forecast(KEY, 10).p50_s == pytest.approx(1.0, rel=0.2)


def test_a_tool_that_hangs_from_now_on_is_expected_to():
    table = observed([0.1] * 100)
    observed([30.0] * 15, fate=Fate.TIMEOUT, table=table)
    forecast = table.forecast(KEY, 10)
    assert forecast.p50_s >= 20.0
    assert forecast.success < 0.9


def test_a_fast_error_is_no_fast_success():
    table = observed([1.0] * 60)
    observed([0.001] * 40, fate=Fate.ERROR, table=table)
    observed([0.001] * 5, fate=Fate.FAULT, table=table)
    assert table.forecast(KEY, 10).p10_s == pytest.approx(1.0)
    told = table.told(KEY)
    assert told.error.p90_s == pytest.approx(0.001)
    assert told.forecast.p50_s == pytest.approx(1.0)


def test_the_share_of_success_leaves_out_what_nobody_waited_for():
    table = RunTable()
    assert table.forecast(KEY, 10).success == 1.0
    fates = [Fate.SUCCESS] * 59 + [Fate.ERROR] * 10 + [Fate.TIMEOUT] * 5 + [Fate.FAULT] * 5 + [Fate.CANCELLED] * 20
    for fate in fates:
        table.observe(KEY, 10, 1.0, fate, 0.0)
    assert table.forecast(KEY, 10).success == pytest.approx(60 / 80)
    assert table.told(KEY).shares[Fate.CANCELLED] == pytest.approx(20 / 99)


def test_success_is_that_of_the_last_hundred_or_so():
    table = observed([1.0] * 1000, fate=Fate.ERROR)
    observed([1.0] * 400, table=table)
    assert table.forecast(KEY, 10).success > 0.97


def test_a_tool_that_has_not_run_is_guessed_by_its_upstream_then_by_all():
    table = RunTable()
    unknown = table.forecast(KEY, 10)
    assert unknown.num_samples == 0
    assert unknown.p10_s < 0.05
    assert unknown.p90_s > 10.0
    observed([8.0] * 20, ELSEWHERE, table=table)
    by_all = table.forecast(KEY, 10)
    assert 1.0 < by_all.p50_s < 8.0
    observed([0.01] * 20, OTHER, table=table)
    by_upstream = table.forecast(KEY, 10)
    assert by_upstream.p50_s < 0.05
    assert by_upstream.num_samples == 0


def test_a_tool_that_runs_often_does_not_decide_what_others_are_guessed_by():
    table = RunTable()
    for number in range(10):
        observed([1.0] * 8, ToolKey(KEY.upstream, f"t{number}"), table=table)
    observed([0.001] * 500, OTHER, table=table)
    assert table.forecast(KEY, 10).p50_s > 0.3


def test_few_runs_move_the_guess_and_keep_a_band_around_it():
    table = observed([5.0] * 3)
    forecast = table.forecast(KEY, 10)
    assert forecast.p50_s == pytest.approx(5.0, rel=0.1)
    assert forecast.p10_s < 4.0
    assert forecast.p90_s > 6.0


def test_the_guess_weighs_less_with_each_run():
    widths = []
    for num in (1, 3, 10, 23, 24):
        forecast = observed([5.0] * num).forecast(KEY, 10)
        widths.append(forecast.p99_s - forecast.p10_s)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 5.0
    assert widths[-2] < 5.0
    assert widths[-1] == 0.0


def test_arguments_of_another_size_have_times_of_their_own():
    table = RunTable()
    for at in range(100):
        table.observe(KEY, 100, 0.1, Fate.SUCCESS, float(at))
        table.observe(KEY, 50_000, 4.0, Fate.SUCCESS, float(at))
    assert table.forecast(KEY, 100).p90_s == pytest.approx(0.1)
    assert table.forecast(KEY, 50_000).p10_s == pytest.approx(4.0)
    assert table.forecast(KEY, 50_000_000).num_samples == 200


def test_a_size_that_was_hardly_seen_borrows_from_the_tool():
    table = observed(lognormal(10, 100, 1.0, 0.3), size=100)
    table.observe(KEY, 50_000, 1.1, Fate.SUCCESS, 0.0)
    forecast = table.forecast(KEY, 50_000)
    assert forecast.num_samples == 1
    assert forecast.p50_s == pytest.approx(1.0, rel=0.25)
    assert forecast.p90_s < 3.0


def test_what_remains_is_told_by_the_runs_that_lasted_as_long():
    table = observed([0.1, 0.1, 0.1, 10.0] * 50)
    assert table.forecast(KEY, 10).p50_s == pytest.approx(0.1)
    assert table.forecast(KEY, 10, elapsed_s=1.0).p50_s == pytest.approx(9.0)


def test_a_run_that_outlasts_all_goes_on_in_proportion_to_what_it_took():
    table = observed([1.0] * 50)
    remaining = table.forecast(KEY, 10, elapsed_s=40.0)
    assert remaining.p50_s == pytest.approx(40.0)
    assert remaining.p90_s == pytest.approx(360.0)


def test_past_the_bound_the_tool_that_has_not_run_for_longest_is_forgotten():
    table = RunTable(max_tools=2)
    for key in (KEY, OTHER, KEY, ELSEWHERE):
        table.observe(key, 10, 1.0, Fate.SUCCESS, 0.0)
    assert table.num_tools == 2
    assert table.told(OTHER) is None
    assert table.told(KEY) is not None


@given(
    st.lists(st.tuples(st.floats(0.0, 1e6), st.sampled_from(list(Fate)), st.integers(0, 10_000_000)), min_size=0, max_size=80),
    st.floats(0.0, 1e7),
    st.integers(0, 10_000_000),
)
def test_whatever_happened_a_forecast_is_ordered_and_finite(runs, elapsed_s, size):
    table = RunTable()
    for seconds, fate, argument_bytes in runs:
        table.observe(KEY, argument_bytes, seconds, fate, 0.0)
    for elapsed in (0.0, elapsed_s):
        told = table.forecast(KEY, size, elapsed_s=elapsed)
        assert 0.0 <= told.p10_s <= told.p50_s <= told.p90_s <= told.p99_s < math.inf
        assert 0.0 < told.success <= 1.0
