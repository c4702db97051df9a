from random import Random

from turnwise.tools_gateway.upstreams.pace import BUDGET, MAX_S, SPENT_S, STABLE_S, WINDOW_S, Pace


def test_a_connection_that_stood_is_dialled_again_at_once():
    pace = Pace()
    pace.begin(0.0)
    pace.lost(STABLE_S)
    assert pace.pause(10.0, Random(1)) == 0.0


def test_losses_in_a_row_wait_longer_each_time_and_never_longer_than_the_bound():
    pace, rng = Pace(budget=None), Random(1)
    longest = []
    for _ in range(10):
        pace.begin(0.0)
        pace.lost(0.0)
        longest.append(max(pace.pause(0.0, rng) for _ in range(200)))
    assert longest[0] == 0.0
    assert longest[1:5] == sorted(longest[1:5])
    assert all(pause <= MAX_S for pause in longest)
    assert longest[-1] > 0.9 * MAX_S


def test_two_sessions_that_fail_together_do_not_come_back_together():
    first, second = Pace(budget=None), Pace(budget=None)
    for pace in (first, second):
        for _ in range(5):
            pace.begin(0.0)
            pace.lost(0.0)
    rng = Random(1)
    assert first.pause(0.0, rng) != second.pause(0.0, rng)


def test_a_stable_connection_makes_earlier_losses_forgotten():
    pace = Pace()
    for stood_s in (0.0, 0.0, 0.0, STABLE_S):
        pace.begin(0.0)
        pace.lost(stood_s)
    assert pace.pause(0.0, Random(1)) == 0.0


def test_programs_past_the_budget_of_a_minute_wait_and_then_may_start_again():
    pace = Pace()
    for number in range(BUDGET):
        assert not pace.is_spent(float(number))
        pace.begin(float(number))
        pace.lost(STABLE_S)
    assert pace.is_spent(BUDGET)
    assert pace.pause(BUDGET, Random(1)) == SPENT_S
    assert not pace.is_spent(WINDOW_S)
    assert pace.num_dials == BUDGET


def test_dials_that_cost_nothing_have_no_budget():
    pace = Pace(budget=None)
    for _ in range(10 * BUDGET):
        pace.begin(0.0)
        pace.lost(STABLE_S)
    assert pace.pause(0.0, Random(1)) == 0.0
