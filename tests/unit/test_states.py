"""Each way in which what is known of a replica is less than all: what brings it about, and that it is explained."""

import msgspec
import pytest

from turnwise.events import ReplicaFacts
from turnwise.index import DomainKey, KvIndex
from turnwise.proxy.export.calls import Answered
from turnwise.proxy.following import Following, Loss
from turnwise.proxy.member import Member
from turnwise.proxy.states import EXPLAINED, MIN_CALLS, RESTARTED_S, State, replica_states
from turnwise.settings import IndexSettings, PolicySettings, Replica

WELL = Answered(100, 100, 100)


def member(feed="live", **noted):
    """A replica that has been reached, whose feed has noted what is given."""
    seen = Member(Replica(url="http://127.0.0.1:1", name="a"), PolicySettings())
    seen.facts = ReplicaFacts(models=("m",))
    seen.feed = feed
    for name, value in noted.items():
        setattr(seen.following, name, value)
    return seen


def cache(**changes):
    index = KvIndex(IndexSettings())
    index.add_replica("a", DomainKey("m", 16, "sha256"), num_blocks=10, has_events=True)
    return msgspec.structs.replace(index.stats().replicas["a"], **changes)


CASES = {
    State.NO_EVENTS: (member("none"), cache(), WELL),
    State.SEVERAL_RANKS: (member("none", has_several_ranks=True), cache(), WELL),
    State.CONNECTING: (member("connecting"), cache(), WELL),
    State.STALE: (member("stale"), cache(), WELL),
    State.RESTORED: (member("connecting", is_restored=True), cache(), WELL),
    State.RESTARTED: (member(restarted_at=1000.0 - RESTARTED_S), cache(), WELL),
    State.NO_REPLAY: (member("partial", loss=Loss.NO_REPLAY), cache(), WELL),
    State.STARTED_LATE: (member("partial", loss=Loss.STARTED_LATE), cache(), WELL),
    State.EVENTS_LOST: (member("partial", loss=Loss.GAP), cache(), WELL),
    State.NO_STAMPS: (member(num_stored=MIN_CALLS, num_stored_unstamped=MIN_CALLS), cache(), WELL),
    State.NO_USAGE: (member(), cache(), Answered(MIN_CALLS, 0, 0)),
    State.NO_CACHED_TOKENS: (member(), cache(), Answered(MIN_CALLS, MIN_CALLS, 0)),
    State.MISSING_HEADS: (member(), cache(num_headless=2), WELL),
    State.NONSENSE_EVENTS: (member(num_nonsense=1), cache(), WELL),
    State.DISTRUSTED_SOURCE: (member(), cache(complaint="confirmed is distrusted"), WELL),
    State.LAST_BLOCK_DROPPED: (member(), cache(drops_last_block=True), WELL),
    State.PREDICTED_ONLY: (member(), cache(is_predicted_only=True), WELL),
    State.SPLIT_DOMAIN: (member(), cache(is_split=True), WELL),
    State.RESTARTED_SILENTLY: (member(), cache(emptied_at=1000.0 - RESTARTED_S), WELL),
}


@pytest.mark.parametrize("state", list(State))
def test_each_state_is_found_alone_where_only_its_cause_is_there(state):
    seen, held, answered = CASES[state]
    assert replica_states(seen, held, answered, 1000.0) == (state,)


@pytest.mark.parametrize("state", list(State))
def test_each_state_is_explained_in_three_sentences(state):
    said = EXPLAINED[state]
    assert all(text.endswith(".") and len(text) < 160 for text in (said.means, said.does, said.remedy))


def test_a_replica_that_is_known_to_the_block_is_in_no_state():
    assert replica_states(member(), cache(), WELL, 1000.0) == ()


def test_a_replica_that_was_never_reached_is_in_no_state():
    assert replica_states(Member(Replica(url="http://127.0.0.1:1"), PolicySettings()), None, Answered(), 0.0) == ()


def test_a_restart_is_shown_for_a_minute():
    assert replica_states(member(restarted_at=1000.0), cache(), WELL, 1000.1 + RESTARTED_S) == ()


def test_a_silent_restart_is_shown_for_a_minute():
    assert replica_states(member(), cache(emptied_at=1000.0), WELL, 1000.1 + RESTARTED_S) == ()


def test_nothing_is_called_absent_before_enough_calls_have_been_answered():
    few = Answered(MIN_CALLS - 1, 0, 0)
    assert replica_states(member(num_stored_unstamped=1000), cache(), few, 0.0) == ()


def test_what_an_earlier_process_answered_says_nothing_of_this_one():
    seen = member(answered_before=Answered(1000, 1000, 0))
    assert replica_states(seen, cache(), Answered(1000 + MIN_CALLS, 1000, 0), 0.0) == (State.NO_USAGE,)


def test_one_stamped_event_ends_the_doubt_about_stamps():
    following = Following()
    for _ in range(1000):
        following.note_stored(is_stamped=False)
    following.note_stored(is_stamped=True)
    assert (following.num_stored, following.num_stored_unstamped) == (1001, 0)
