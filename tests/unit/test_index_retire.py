"""What nobody will go on from leaves the predicted index before anything else; what engines confirmed stays."""

import pytest
from tests.unit.letters import World, chain, stored

from turnwise.index import DomainKey, KvIndex, Report
from turnwise.index.capacity import Capacity
from turnwise.index.predicted import MAX_SEGMENTS, PredictedRuns
from turnwise.settings import IndexSettings
from turnwise.types import HitSource, PromptChain

ROOMY = 1_000_000


def prompt(*segments):
    """The chain of a prompt whose segments have ten bytes each."""
    digests = tuple("/".join(segments[: end + 1]).encode() for end in range(len(segments)))
    return PromptChain(digests, tuple(range(10, 10 * len(segments) + 1, 10)))


def long_prompt(name, count):
    """A prompt of a shared segment and so many others."""
    digests = (b"sys", *(b"%s %d" % (name, number) for number in range(count)))
    return PromptChain(digests, tuple(range(10, 10 * count + 20, 10)))


def held(runs, chain):
    return runs.tokens_since(chain, 0.0)


def booked(*chains, capacity=ROOMY):
    """What is predicted after these prompts were sent, in their order, and answered."""
    runs = PredictedRuns(Capacity(None, capacity))
    for now, one in enumerate(chains):
        send(runs, one, float(now))
    return runs


def send(runs, chain, now):
    runs.book(chain, chain.ends[-1], now)
    runs.settle(chain, chain.ends[-1], None, now)


def report(chain):
    return Report(chain.ends[-1], None, None, None)


LIVE, DEAD = prompt("sys", "turn", "live"), prompt("sys", "turn", "dead", "end")


def test_a_retired_branch_is_forgotten_before_live_ones_that_are_older():
    runs = booked(LIVE, DEAD)
    runs.retire(DEAD.digests, 2)
    assert runs.forget(1) == 0
    assert (held(runs, LIVE), held(runs, DEAD)) == (30, 30)
    assert runs.forget(1) == 0
    assert (held(runs, LIVE), held(runs, DEAD)) == (30, 20)
    assert runs.forget(1) == 0
    assert held(runs, LIVE) == 20


def test_without_pressure_a_retired_branch_is_still_predicted():
    runs = booked(LIVE, DEAD)
    runs.retire(DEAD.digests, 2)
    runs.book(prompt("other"), 10, now=9.0)
    assert held(runs, DEAD) == 40


def test_where_there_are_too_many_segments_retired_ones_go_first():
    older, dead = long_prompt(b"live", 100), long_prompt(b"dead", MAX_SEGMENTS - 200)
    runs = booked(older, dead)
    runs.retire(dead.digests, 1)
    send(runs, long_prompt(b"new", 1000), 3.0)
    assert runs.num_segments <= MAX_SEGMENTS
    assert held(runs, older) == older.ends[-1]
    assert held(runs, dead) < dead.ends[-1]


def test_what_is_kept_of_a_retired_prompt_is_parted_from_what_is_not():
    runs = booked(DEAD)
    runs.retire(DEAD.digests, 2)
    runs.forget(2)
    assert held(runs, DEAD) == 20
    assert runs.num_segments == 2


def test_a_branch_that_is_sent_again_is_needed_after_all():
    runs = booked(LIVE, DEAD)
    runs.retire(DEAD.digests, 2)
    send(runs, DEAD, 5.0)
    runs.forget(1)
    assert (held(runs, DEAD), held(runs, LIVE)) == (40, 20)


def test_what_others_went_on_from_is_not_retired():
    runs = booked(DEAD, prompt(*["sys", "turn", "dead", "end", "more"]), prompt(*["sys", "turn", "dead", "other"]))
    runs.retire(DEAD.digests, 0)
    send(runs, prompt("last"), 9.0)
    runs.forget(1)
    assert held(runs, prompt(*["sys", "turn", "dead", "end", "more"])) == 40  # the oldest goes, as ever


def test_a_prompt_that_another_has_grown_from_is_not_retired():
    longer = prompt(*("sys", "turn", "dead", "end", "more"))
    runs = booked(LIVE, DEAD, longer)
    runs.retire(DEAD.digests, 2)
    runs.forget(1)
    assert (held(runs, longer), held(runs, LIVE)) == (50, 20)


def test_a_prompt_that_is_not_answered_yet_is_not_retired():
    runs = booked(LIVE)
    runs.book(DEAD, 40, now=1.0)
    runs.retire(DEAD.digests, 2)
    runs.forget(1)
    assert (held(runs, DEAD), held(runs, LIVE)) == (40, 20)


@pytest.mark.parametrize("digests", [(), (b"unknown",), prompt("sys", "unknown").digests])
def test_a_prompt_that_was_never_sent_retires_nothing(digests):
    runs = booked(LIVE)
    runs.retire(digests, 1)
    assert (held(runs, LIVE), runs.num_segments) == (30, 3)


def test_forgotten_runs_are_not_remembered_as_retired():
    runs = booked(LIVE, DEAD)
    runs.retire(DEAD.digests, 2)
    runs.sweep(before=100.0, max_segments=1000)
    assert (runs.num_segments, runs.num_retired, runs.num_tokens) == (0, 0, 0)


def test_of_a_cache_that_is_too_small_the_oldest_is_lost_first_as_engines_do_not_know_what_is_retired():
    runs = booked(LIVE, DEAD, capacity=50)
    runs.retire(DEAD.digests, 2)
    send(runs, prompt("new"), 9.0)
    assert (held(runs, LIVE), held(runs, DEAD)) == (20, 40)


def test_under_pressure_of_memory_the_index_forgets_retired_prompts_of_every_replica_first():
    index = KvIndex(IndexSettings(max_predicted_bytes=14_000, bytes_per_token=1.0))
    live, dead = long_prompt(b"live", 10), long_prompt(b"dead", 60)
    for replica in ("a", "b"):
        index.add_replica(replica, DomainKey(model="m", block_size=4, algorithm="x"), num_blocks=None, has_events=False)
        for now, one in enumerate((live, dead)):
            index.book(f"{replica}{now}", one, replica, one.ends[-1], float(now))
            index.settle(f"{replica}{now}", one, replica, report(one), float(now))
    index.retire(dead.digests, 1)
    while index.sweep(2.0):
        pass
    hits = index.residency(live, ["a", "b"], 2.0).hits
    assert {name: hit.tokens for name, hit in hits.items()} == dict.fromkeys(("a", "b"), live.ends[-1] // 4 * 4)
    assert index.stats().num_predicted_bytes <= 14_000
    assert all(hit.tokens < dead.ends[-1] for hit in index.residency(dead, ["a", "b"], 2.0).hits.values())


def test_what_an_engine_confirmed_stays_when_its_prompt_is_retired():
    world = World(max_predicted_bytes=1024)
    text = chain(b"sys.", b"turn", b"dead")
    world.apply(stored(b"sys.turndead", "call 1"))
    world.index.book("call 1", text, "a", 12, 0.0)
    world.settle("call 1", text, b"sys.turndead")
    assert world.hit(text) == (2, HitSource.CONFIRMED)
    world.index.retire(text.digests, 0)
    while world.index.sweep(1.0):
        pass
    assert world.hit(text) == (2, HitSource.CONFIRMED)
