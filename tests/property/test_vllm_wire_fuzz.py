"""Captured event batches with anything changed in them: they are read or refused, and harm nobody but who sent them."""

import json
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.engines.vllm import decode_batch
from turnwise.index import DomainKey, KvIndex, Report
from turnwise.settings import IndexSettings
from turnwise.types import CallId, PromptChain

DATA = Path(__file__).parent.parent / "data" / "vllm-0.32"
PAYLOADS = [
    bytes.fromhex(row["payload_hex"])
    for name in ("int", "bytes")
    for row in map(json.loads, (DATA / f"kv_events_{name}_hashes.jsonl").read_text().splitlines())
    if len(row["payload_hex"]) == 2 * row["payload_len"]
]
EVENTS = [event for payload in PAYLOADS for event in msgspec.msgpack.decode(payload)[1]]
KEY = DomainKey(model="m", block_size=32, algorithm="sha256")
PROMPT = PromptChain((b"p" * 16,), (4000,))

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=40),
    st.lists(st.integers(-(2**63), 2**64 - 1), max_size=5),
    st.dictionaries(st.text(max_size=3), st.integers(-5, 5), max_size=3),
)
fields = st.sampled_from(sorted({field for event in EVENTS for field in event}))


@st.composite
def changed(draw):
    """An event of a capture in which some fields have other values, or are gone, or have changed places."""
    event = dict(draw(st.sampled_from(EVENTS)))
    if draw(st.booleans()):
        event = {"type": "BlockRemoved", "block_hashes": event["block_hashes"], "medium": event.get("medium")}
    for field in draw(st.lists(fields, max_size=3)):
        if draw(st.booleans()):
            event[field] = draw(odd)
        else:
            event.pop(field, None)
    return draw(odd) if draw(st.integers(0, 9)) == 0 else list(event.values()) if draw(st.integers(0, 4)) == 0 else event


def taught():
    """Replica a, which was taught the prompt of the captured call, and b, which publishes nonsense."""
    index = KvIndex(IndexSettings())
    for name in ("a", "b"):
        index.add_replica(name, KEY, num_blocks=1000, has_events=True)
    batch = decode_batch(PAYLOADS[0], 0)
    index.apply("a", batch, 0.0)
    (event,) = batch.events
    call_id = CallId(event.call_id)
    assert index.settle(call_id, PROMPT, "a", Report(len(event.hashes) * 32 + 1), 0.0).is_taught
    return index, len(event.hashes) * 32


def hits(index):
    return index.residency(PROMPT, ["a", "b"], 10_000.0).hits


@given(st.lists(st.lists(changed(), max_size=5), max_size=8))
@settings(deadline=None, max_examples=120)
def test_nonsense_is_counted_or_applied_and_what_others_hold_stays_as_it_was(batches):
    index, held = taught()
    for sequence, events in enumerate(batches):
        batch = decode_batch(msgspec.msgpack.encode([1.0, events, 0]), sequence)
        assert len(batch.events) + sum(dropped.count for dropped in batch.dropped) == len(events)
        index.apply("b", batch, 0.0)
        assert hits(index)["a"].tokens == held
        assert hits(index)["b"].tokens <= held
    index.apply("b", decode_batch(msgspec.msgpack.encode([1.0, [{"type": "AllBlocksCleared"}]]), 99), 0.0)
    while index.sweep(1.0):
        pass
    assert hits(index)["b"].tokens == 0
    assert hits(index)["a"].tokens == held


@given(
    st.sampled_from(PAYLOADS),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    st.integers(0, 1 << 16),
)
@settings(deadline=None, max_examples=300)
def test_bytes_changed_anywhere_are_a_batch_or_a_value_error_and_nothing_else(payload, changes, cut):
    broken = bytearray(payload)
    for place, value in changes:
        broken[place % len(broken)] = value
    if cut % 3 == 0:
        del broken[cut % len(broken) :]
    index, held = taught()
    try:
        batch = decode_batch(bytes(broken), 1)
    except ValueError as error:
        assert str(error).startswith("KV event batch 1 ")  # noqa: PT017 - either outcome is right, no other error is
        return
    index.apply("b", batch, 0.0)
    assert hits(index)["a"].tokens == held
