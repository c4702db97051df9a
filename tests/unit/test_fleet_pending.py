"""How much prefill stands before a new call: what was booked, less what the oldest call has had time for."""

import pytest

from turnwise.index import KvIndex
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.member import STEP_TOKENS
from turnwise.settings import IndexSettings, PolicySettings, Replica, Settings
from turnwise.types import CallId, DialectName, Hit, Placement, ReplicaId, Request, Terms

RATE = 1000.0
LONG = STEP_TOKENS + 5000


@pytest.fixture
def fleet():
    settings = Settings(replicas=(Replica(url="http://a:1", name="a"),), policy=PolicySettings(prefill_tokens_per_s=RATE))
    return Fleet(settings, KvIndex(IndexSettings()))


def book(fleet, tokens, now):
    request = Request(
        call_id=CallId("c"),
        request_id="r",
        dialect=DialectName.CHAT,
        method="POST",
        target="/",
        headers=(),
        body=b"",
        arrived_at=now,
        read_at=now,
    )
    placement = Placement(
        replica=ReplicaId("a"),
        policy="kv_aware",
        reason="only_one",
        prompt_tokens=tokens,
        is_taught=False,
        hit=Hit(),
        terms=Terms(),
    )
    return fleet.book(request, placement, now)


def pending(fleet, now):
    return fleet.pending_prefill_tokens(fleet.members[ReplicaId("a")], now)


def test_the_oldest_call_is_computed_with_time_and_those_behind_it_are_not(fleet):
    with book(fleet, LONG, 10.0), book(fleet, 3000, 11.0):
        assert pending(fleet, 10.0) == LONG + 3000
        assert pending(fleet, 12.0) == LONG + 3000 - 2000


def test_the_last_step_of_a_prefill_counts_whole_until_it_ends(fleet):
    with book(fleet, LONG, 0.0) as lease:
        assert pending(fleet, 1000.0) == STEP_TOKENS
        lease.prefill_done(1000.0)
        assert pending(fleet, 1000.0) == 0
    with book(fleet, 500, 0.0):
        assert pending(fleet, 1000.0) == 500


def test_the_next_call_begins_when_the_one_before_it_got_its_first_token(fleet):
    with book(fleet, 4000, 0.0) as first, book(fleet, LONG, 1.0):
        first.prefill_done(4.0)
        assert pending(fleet, 4.0) == LONG
        assert pending(fleet, 6.0) == LONG - 2000


def test_work_before_a_call_is_its_own_and_what_is_left_of_the_others(fleet):
    with book(fleet, LONG, 0.0):
        assert book(fleet, 300, 2.0).work_tokens == LONG - 2000 + 300


def test_a_call_that_fails_gives_its_prefill_back_without_a_word_about_speed(fleet):
    with book(fleet, LONG, 0.0):
        pass
    member = fleet.members[ReplicaId("a")]
    assert (member.prefilling_tokens, member.prefill_ended_at, len(member.prefilling)) == (0, 0.0, 0)
