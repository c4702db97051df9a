"""An index that was written down and read back answers as the one that was, now and after whatever comes next."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.events import DISK, DRAM, GPU, BlocksRemoved, BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report
from turnwise.settings import IndexSettings
from turnwise.types import Answer, CallId, PromptChain

BLOCK = 4
SHARED = DomainKey(model="m", block_size=BLOCK, algorithm="sha256")
KEYS = {"a": SHARED, "b": SHARED, "alone": DomainKey(model="m"), "other": DomainKey("n", BLOCK, "sha256")}
SETTINGS = IndexSettings(bytes_per_token=1.0, predicted_ttl_s=1.0, unconfirmed_ttl_s=1.0, max_evidence_bytes=6000)
DEPTH = 5
"""Segments of the longest prompt; each is one of three, and 4 to 90 tokens long."""

paths = st.lists(st.integers(0, 2), min_size=1, max_size=DEPTH).map(tuple)
replicas = st.sampled_from(list(KEYS))
calls = st.tuples(st.just("call"), replicas, paths, st.integers(0, 30))
offloads = st.tuples(st.just("offload"), replicas, paths, st.integers(0, 60))
removals = st.tuples(st.just("remove"), replicas, paths, st.integers(0, 60))
histories = st.lists(st.one_of(calls, calls, calls, offloads, removals), max_size=25)


def size(path):
    return sum(random.Random(f"{path[: end + 1]}").randint(4, 90) for end in range(len(path)))


def prompt(path):
    return PromptChain(
        tuple(repr(path[: end + 1]).encode().ljust(16, b" ")[:16] for end in range(len(path))),
        tuple(size(path[: end + 1]) for end in range(len(path))),
    )


def blocks(path, more=0):
    """The engine's hashes of a prompt and of `more` tokens generated after it; a prompt that goes on has other blocks there."""
    ends = [size(path[: end + 1]) for end in range(len(path))]
    found = []
    for last in range(BLOCK, ends[-1] + more + 1, BLOCK):
        covered = next((path[: at + 1] for at, end in enumerate(ends) if end >= last), (*path, "generated"))
        found.append(random.Random(f"{covered} {last}").getrandbits(60))
    return tuple(found)


def step(index, number, kind, replica, path, count):
    chain = blocks(path)
    if kind == "call":
        call_id = CallId(f"c{number}")
        whole = blocks(path, count)
        index.book(call_id, prompt(path), replica, size(path), 0.0)
        if whole:
            index.apply(replica, EventBatch(number, 0, (BlocksStored(whole, None, BLOCK, call_id=call_id),)), 0.0)
        index.settle(call_id, prompt(path), replica, Report(size(path), 0, count, Answer(text=number + 1)), 0.0)
    elif kind == "offload" and chain:
        medium = DRAM if count % 2 else DISK
        events = [BlocksStored(chain[count:], chain[count - 1], BLOCK, medium)] if 0 < count < len(chain) else []
        events += [BlocksStored((block,), None, 0, medium, is_chained=False) for block in chain[:count]]
        index.apply(replica, EventBatch(number, 0, tuple(events)), 0.0)
    elif kind == "remove":
        media = [GPU, DRAM, DISK]
        index.apply(replica, EventBatch(number, 0, (BlocksRemoved(chain[count:], media[count % 3]),)), 0.0)


def followed(index):
    for replica, key in KEYS.items():
        index.add_replica(replica, key, num_blocks=500, has_events=True)
    return index


def answers(index, paths):
    """What is said of every prompt, so late that no prediction lives."""
    return {path: index.residency(prompt(path), list(KEYS), 1000.0) for path in paths}


def sizes(index):
    stats = index.stats()
    return (
        stats.num_unique_blocks,
        stats.num_evidence_entries,
        stats.num_evidence_bytes,
        {
            name: (held.num_blocks, held.num_dram_blocks, held.num_disk_blocks, held.num_copies, held.is_split)
            for name, held in stats.replicas.items()
        },
    )


def swept(index, now=2.0):
    while index.sweep(now):
        pass
    return index


@given(histories, st.lists(st.one_of(calls, offloads, removals), max_size=10))
@settings(deadline=None, max_examples=150)
def test_what_is_restored_and_trusted_answers_every_question_as_what_was_written_down(history, later):
    first = followed(KvIndex(SETTINGS))
    for number, said in enumerate(history):
        step(first, number, *said)
    second = KvIndex(SETTINGS)
    assert sorted(second.restore(first.dump(), 0.0)) == sorted(KEYS)
    followed(second)
    asked = {said[2] for said in (*history, *later)}
    assert not any(hit.tokens for known in answers(second, asked).values() for hit in known.hits.values())
    for replica in KEYS:
        assert second.is_restored(replica)
        second.trust(replica)
    assert answers(second, asked) == answers(first, asked)
    assert sizes(swept(second)) == sizes(swept(first))
    for number, said in enumerate(later, start=1000):
        step(first, number, *said)
        step(second, number, *said)
    assert answers(second, asked) == answers(first, asked)
    assert sizes(swept(second, 5000.0)) == sizes(swept(first, 5000.0))
    third = KvIndex(SETTINGS)
    third.restore(second.dump(), 0.0)
    for replica in KEYS:
        followed(third).trust(replica)
    assert answers(third, asked) == answers(first, asked)


def written(*more):
    index = followed(KvIndex(SETTINGS))
    for number, replica in enumerate(KEYS):
        step(index, number, "call", replica, (0, 1, 2), 9)
    for number, said in enumerate(more, start=100):
        step(index, number, *said)
    return index


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_a_dump_that_was_cut_or_changed_anywhere_is_refused_and_nothing_is_taken_in(data):
    dump = bytearray(written().dump())
    if data.draw(st.booleans()):
        dump[data.draw(st.integers(0, len(dump) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del dump[data.draw(st.integers(0, len(dump) - 1)) :]
    index = KvIndex(SETTINGS)
    with pytest.raises(ValueError, match="index"):
        index.restore(bytes(dump), 0.0)
    assert index.stats().num_domains == 0
    assert not any(followed(index).is_restored(replica) for replica in KEYS)
