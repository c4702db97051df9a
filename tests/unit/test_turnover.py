import math

from turnwise.proxy.policy.turnover import NUM_MARKS, Turnover


def test_a_cache_that_was_never_filled_has_had_to_evict_nothing():
    turnover = Turnover()
    turnover.add(999, 5.0, 1000)
    assert turnover.since == -math.inf


def test_the_last_cacheful_began_where_as_many_tokens_follow():
    turnover = Turnover()
    for second in range(100):
        turnover.add(100, float(second), 1000)
    assert turnover.since == 90.0  # ten calls of 100 tokens


def test_a_prompt_as_large_as_the_cache_begins_it_anew():
    turnover = Turnover()
    turnover.add(400, 1.0, 1000)
    turnover.add(1000, 2.0, 1000)
    turnover.add(10, 3.0, 1000)
    assert turnover.since == 2.0


def test_many_small_prompts_are_kept_as_few_marks_and_placed_to_a_part_of_a_cacheful():
    turnover = Turnover()
    for second in range(10_000):
        turnover.add(1, float(second), 1000)
    assert 9999 - 1000 - 1000 / NUM_MARKS <= turnover.since <= 10_000 - 1000
    assert len(turnover._marks) <= NUM_MARKS + 2


def test_a_cache_that_was_emptied_begins_anew():
    turnover = Turnover()
    turnover.add(2000, 1.0, 1000)
    turnover.clear()
    turnover.add(500, 2.0, 1000)
    assert turnover.since == -math.inf
