"""What was written down of the index: who gets it back, when it is believed, and what is refused."""

import msgspec
import pytest
from xxhash import xxh3_128_digest

from turnwise.events import DRAM, BlocksRemoved, BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report
from turnwise.index.dump import HEADER, WAIT_S
from turnwise.settings import IndexSettings
from turnwise.types import CallId, Hit, HitSource, PromptChain

KEY = DomainKey(model="m", block_size=16, algorithm="sha256")
SETTINGS = IndexSettings(bytes_per_token=4.0)
CHAIN = tuple(range(100, 200))
PROMPT = PromptChain((b"p" * 16,), (6400,))
LATE = 10_000.0
HELD = Hit(50 * 16, HitSource.CONFIRMED)


def batch(*events):
    return EventBatch(0, 0, events)


def follow(index, *names, num_blocks=1000, key=KEY):
    for name in names:
        index.add_replica(name, key, num_blocks=num_blocks, has_events=True)
    return index


@pytest.fixture
def dump():
    """Replica a was taught a prompt of 100 blocks and has lost half of it; b has never been called."""
    index = follow(KvIndex(SETTINGS), "a", "b")
    index.apply("a", batch(BlocksStored(CHAIN, None, 16, call_id="c")), 0.0)
    assert index.settle(CallId("c"), PROMPT, "a", Report(1601), 0.0).is_taught
    index.apply("a", batch(BlocksRemoved(CHAIN[50:])), 0.0)
    return index.dump()


def restored(dump, now=0.0):
    index = KvIndex(SETTINGS)
    assert index.restore(dump, now) == ["a", "b"]
    return index


def hit(index, replica="a"):
    return index.residency(PROMPT, [replica], LATE).hits[replica]


def swept(index, now):
    while index.sweep(now):
        pass
    return index


def test_nothing_restored_is_believed_before_it_is_trusted_and_all_of_it_after(dump):
    index = follow(restored(dump), "a", "b")
    assert hit(index) == Hit()
    assert index.is_restored("a")
    assert index.residency(PROMPT, ["a"], LATE).is_taught
    index.trust("a")
    assert not index.is_restored("a")
    assert hit(index) == HELD


def test_events_are_applied_to_what_was_restored_before_it_is_trusted(dump):
    index = follow(restored(dump), "a")
    index.apply("a", batch(BlocksRemoved(CHAIN[40:50])), 1.0)
    index.trust("a")
    assert hit(index).tokens == 40 * 16


def test_where_the_engine_is_another_its_blocks_are_dropped_and_what_was_taught_is_not(dump):
    index = follow(restored(dump), "a")
    index.drop_blocks("a")
    assert not index.is_restored("a")
    assert hit(index) == Hit()
    index.apply("a", batch(BlocksStored(CHAIN[:50], None, 16)), 1.0)
    assert hit(index) == HELD


@pytest.mark.parametrize("facts", [{"num_blocks": 999}, {"key": DomainKey("m", 32, "sha256")}, {"key": DomainKey("m")}])
def test_a_replica_that_is_followed_by_other_facts_gets_nothing_back(dump, facts):
    index = follow(restored(dump), "a", **facts)
    assert not index.is_restored("a")
    index.trust("a")
    assert hit(index) == Hit()
    assert swept(index, 1.0).stats().num_unique_blocks == 0


def test_a_replica_that_is_not_found_in_time_is_forgotten(dump):
    index = restored(dump, now=5.0)
    assert swept(index, 5.0 + WAIT_S - 1).stats().num_unique_blocks == 50
    assert swept(index, 5.0 + WAIT_S).stats().num_unique_blocks == 0
    assert index.stats().num_domains == 0
    assert not follow(index, "a").is_restored("a")


def test_a_replica_that_left_the_fleet_and_comes_back_gets_nothing_twice(dump):
    index = follow(restored(dump), "a")
    index.remove_replica("a")
    assert not follow(index, "a").is_restored("a")


def test_the_bound_of_a_restored_slot_is_that_of_its_replica():
    index = follow(KvIndex(SETTINGS), "a", num_blocks=80)
    index.apply("a", batch(BlocksStored(CHAIN, None, 16), BlocksStored(CHAIN, None, 16, DRAM)), 0.0)
    again = KvIndex(SETTINGS)
    again.restore(index.dump(), 0.0)
    follow(again, "a", num_blocks=80)
    again.apply("a", batch(BlocksStored(tuple(range(1000, 1050)), None, 16)), 0.0)
    assert again.stats().replicas["a"].num_blocks == 100
    assert again.stats().replicas["a"].num_dram_blocks == 100


def test_an_index_that_follows_replicas_is_not_restored(dump):
    with pytest.raises(ValueError, match="already"):
        follow(KvIndex(SETTINGS), "a").restore(dump, 0.0)


def test_another_version_and_other_files_are_refused_by_their_beginning(dump):
    for data in (b"", b"{}", dump[: len(HEADER) - 1], HEADER[:-1] + b"\xff" + dump[len(HEADER) :]):
        with pytest.raises(ValueError, match="not an index of this version"):
            KvIndex(SETTINGS).restore(data, 0.0)


def forged(dump, change):
    """A dump with a right checksum over a body that `change` has changed."""
    body = msgspec.msgpack.decode(dump[len(HEADER) + 16 :])
    change(*body)
    raw = msgspec.msgpack.encode(body)
    return HEADER + xxh3_128_digest(raw) + raw


@pytest.mark.parametrize(
    "change",
    [
        lambda replicas, _domains, _rates: replicas[0].__setitem__(4, 7),
        lambda replicas, _domains, _rates: replicas[0].__setitem__(1, "no key"),
        lambda replicas, _domains, _rates: replicas[0][8].update(confirmed=[1.0, 2.0]),
        lambda replicas, _domains, _rates: replicas[0][8].update(confirmed=[0.0, 0.0]),
        lambda _replicas, domains, _rates: domains[0][4][2].append(domains[0][4][2][0]),
        lambda _replicas, domains, _rates: domains[0][4][2][0].__setitem__(2, [[1, 9]]),
        lambda _replicas, domains, _rates: domains[0][4][2][0].__setitem__(2, [[5, 50]]),
        lambda _replicas, domains, _rates: domains[0][4][0][0].__setitem__(0, b""),
        lambda _replicas, domains, _rates: domains[0][5][1][0].__setitem__(0, b"12345"),
        lambda _replicas, domains, _rates: domains[0][5][1][0].__setitem__(0, b"12345678"),
        lambda _replicas, domains, _rates: domains[0][5][0][0].__setitem__(2, b"x" * 16),
        lambda _replicas, _domains, rates: rates.clear(),
    ],
)
def test_a_dump_that_contradicts_itself_is_refused_and_nothing_is_taken_in(dump, change):
    index = KvIndex(SETTINGS)
    with pytest.raises(ValueError, match="written down of the index"):
        index.restore(forged(dump, change), 0.0)
    assert index.stats().num_domains == 0


def test_a_forged_body_that_says_the_same_is_taken_in(dump):
    assert KvIndex(SETTINGS).restore(forged(dump, lambda *_: None), 0.0) == ["a", "b"]
