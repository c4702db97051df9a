"""How fast a replica brings up blocks from slower media: what its calls say, and what they cannot."""

import math

import pytest

from turnwise.events import DISK, DRAM
from turnwise.proxy.policy.loading import KEPT_CALLS, MAX_FACTOR, MIN_LOADED_TOKENS, Loading
from turnwise.settings import PolicySettings
from turnwise.types import Hit, HitSource

SETTINGS = PolicySettings(dram_tokens_per_s=100_000.0, disk_tokens_per_s=20_000.0)
STEP_S, TOKEN_S = 0.02, 1e-4
"""A step, and each token that is computed in it."""


def from_dram(tokens):
    return Hit(tokens + 64, HitSource.CONFIRMED, dram_tokens=tokens)


def plain_s(work_tokens):
    return STEP_S + work_tokens * TOKEN_S


@pytest.fixture
def loading():
    """One that knows how long calls take that have nothing brought up."""
    made = Loading(SETTINGS)
    for work_tokens in (100, 900, 300, 2000, 150):
        made.note_plain(work_tokens, plain_s(work_tokens))
    return made


def teach(loading, hit, seconds, work_tokens=200):
    told = loading.sample(hit, work_tokens, plain_s(work_tokens) + seconds)
    if told is not None:
        loading.learn(*told)
    return told


def test_the_setting_stands_until_a_call_has_told():
    loading = Loading(SETTINGS)
    assert (loading.speeds.dram_tokens_per_s, loading.speeds.disk_tokens_per_s) == (100_000.0, 20_000.0)
    assert {medium: seen.num_calls for medium, seen in loading.stats.items()} == {"dram": 0, "disk": 0}


def test_the_speed_is_what_a_call_took_longer_than_one_that_has_nothing_brought_up(loading):
    for work_tokens in (40, 400, 1200, 200):
        teach(loading, from_dram(5000), 5000 / 25_000, work_tokens)
    assert loading.speeds.dram_tokens_per_s == pytest.approx(25_000)
    assert loading.speeds.disk_tokens_per_s == 20_000
    assert loading.stats["dram"].num_calls == 4


def test_calls_that_waited_for_something_else_do_no_harm(loading):
    for number in range(KEPT_CALLS):
        waited_s = 3.0 if number % 3 == 0 else 0.0
        teach(loading, from_dram(4000), 4000 / 50_000 + waited_s)
    assert loading.speeds.dram_tokens_per_s == pytest.approx(50_000)


def test_a_medium_that_becomes_slower_is_believed_after_eight_calls(loading):
    for speed, calls in ((50_000, KEPT_CALLS), (10_000, KEPT_CALLS // 2 + 1)):
        for _ in range(calls):
            teach(loading, from_dram(4000), 4000 / speed)
    assert loading.speeds.dram_tokens_per_s == pytest.approx(10_000, rel=0.7)
    teach(loading, from_dram(4000), 4000 / 10_000)
    assert loading.speeds.dram_tokens_per_s == pytest.approx(10_000)


@pytest.mark.parametrize(("seconds", "factor"), [(-1.0, MAX_FACTOR), (1e9, 1 / MAX_FACTOR)])
def test_no_medium_is_believed_to_be_faster_or_slower_than_can_be(loading, seconds, factor):
    for _ in range(KEPT_CALLS):
        teach(loading, from_dram(4000), seconds)
    assert loading.speeds.dram_tokens_per_s == pytest.approx(100_000 * factor)


def test_few_tokens_tell_nothing(loading):
    assert loading.sample(from_dram(MIN_LOADED_TOKENS - 1), 200, 1.0) is None
    assert loading.sample(from_dram(MIN_LOADED_TOKENS), 200, 1.0) is not None


def test_nothing_is_told_before_calls_have_said_how_long_one_without_takes():
    loading = Loading(SETTINGS)
    for work_tokens in (100, 101, 102, 103, 104):  # too much alike to tell what a token takes
        loading.note_plain(work_tokens, plain_s(work_tokens))
    assert loading.sample(from_dram(4000), 200, 1.0) is None


def test_of_two_media_the_one_that_should_take_longer_is_told_of(loading):
    hit = Hit(9000, HitSource.CONFIRMED, dram_tokens=4000, disk_tokens=4000)
    medium, token_s = loading.sample(hit, 200, plain_s(200) + 4000 / 100_000 + 4000 / 5000)
    assert (medium, token_s) == (DISK, pytest.approx(1 / 5000))
    much_from_dram = Hit(30_000, HitSource.CONFIRMED, dram_tokens=29_000, disk_tokens=1000)
    assert loading.sample(much_from_dram, 200, 1.0)[0] == DRAM


def test_a_medium_that_is_unknown_here_is_ignored(loading):
    loading.learn("TAPE", 1.0)
    assert loading.taught == []
    assert not math.isnan(loading.speeds.dram_tokens_per_s)


def test_what_is_taught_can_be_told_to_a_sibling(loading):
    for _ in range(5):
        teach(loading, from_dram(4000), 4000 / 50_000)
    sibling = Loading(SETTINGS)
    for told in loading.taught:
        sibling.learn(*told)
    assert sibling.speeds == loading.speeds
