import json
import math
import random
from pathlib import Path

import msgspec
import pytest

from turnwise.engines.vllm import decode_batch
from turnwise.engines.vllm.wire import MAX_BLOCKS, MAX_EVENTS
from turnwise.events import DISK, DRAM, BlocksCleared, BlocksRemoved, BlocksStored, Nonsense
from turnwise.types import BLOCK_HASH_MASK

DATA = Path(__file__).parent.parent / "data" / "vllm-0.32"


def captured(name):
    """Whole batches of a capture: (sequence, payload)."""
    rows = [json.loads(line) for line in (DATA / f"kv_events_{name}_hashes.jsonl").read_text().splitlines()]
    payloads = [(int(row["seq_hex"], 16), bytes.fromhex(row["payload_hex"]), row["payload_len"]) for row in rows]
    return [(sequence, payload) for sequence, payload, length in payloads if len(payload) == length]


def stored_map(**fields):
    event = {
        "type": "BlockStored",
        "block_hashes": [11, 12],
        "parent_block_hash": None,
        "token_ids": list(range(8)),
        "block_size": 4,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
        "extra_keys": [None, None],
    }
    return {**event, **fields}


def decode_one(event, **options):
    return decode_batch(msgspec.msgpack.encode([1.5, [event]]), 7, **options).events[0]


@pytest.mark.parametrize("name", ["int", "bytes"])
def test_every_captured_batch_of_vllm_is_read(name):
    batches = captured(name)
    assert len(batches) >= 3
    for sequence, payload in batches:
        batch = decode_batch(payload, sequence)
        assert (batch.sequence, batch.rank) == (sequence, 0)
        (event,) = batch.events
        assert isinstance(event, BlocksStored)
        assert (event.block_size, event.medium, event.spec_kind, event.group) == (32, "GPU", "full_attention", 0)
        assert all(0 <= value <= BLOCK_HASH_MASK for value in event.hashes)
        assert (event.head_key is None) == (event.parent is not None)


@pytest.mark.parametrize("name", ["int", "bytes"])
def test_a_captured_chain_hangs_together_by_its_parents(name):
    events = [decode_batch(payload, sequence).events[0] for sequence, payload in captured(name)]
    seen = {value for event in events for value in event.hashes}
    linked = [event for event in events if event.parent in seen]
    assert linked
    for event in linked:
        before = [other for other in events if event.parent in other.hashes]
        assert before[0].hashes[-1] == event.parent


def test_the_stamp_of_a_capture_is_its_call_id():
    sequence, payload = captured("int")[0]
    assert decode_batch(payload, sequence).events[0].call_id == "sess-42"


def test_raw_byte_hashes_and_integers_name_the_same_blocks():
    generator = random.Random(1)
    digests = [generator.randbytes(32) for _ in range(3)]
    numbers = [int.from_bytes(digest, "big") & (2**64 - 1) for digest in digests]
    as_bytes = decode_one(stored_map(block_hashes=digests[1:], parent_block_hash=digests[0]))
    as_numbers = decode_one(stored_map(block_hashes=numbers[1:], parent_block_hash=numbers[0]))
    assert as_bytes == as_numbers
    assert as_bytes.parent == numbers[0] & BLOCK_HASH_MASK


def test_the_array_encoding_reads_as_the_map_encoding():
    as_map = stored_map(extra_keys=[["salt"], None])
    assert decode_one(list(as_map.values())) == decode_one(as_map)
    assert decode_one(["BlockRemoved", [5], "CPU"]) == BlocksRemoved((5,), "CPU")
    assert decode_one(["AllBlocksCleared"]) == BlocksCleared()


def test_an_array_event_may_leave_out_its_last_fields():
    event = decode_one(["BlockStored", [1], None, [1, 2, 3, 4], 4])
    assert (event.hashes, event.medium, event.call_id) == ((1,), "GPU", None)


def test_removals_and_clearing_are_read():
    assert decode_one({"type": "BlockRemoved", "block_hashes": [5], "medium": "CPU", "group_idx": 2}) == BlocksRemoved(
        (5,), "CPU", 2
    )
    assert decode_one({"type": "BlockRemoved", "block_hashes": [5], "medium": None}) == BlocksRemoved((5,), "GPU", 0)
    assert decode_one({"type": "AllBlocksCleared"}) == BlocksCleared()


def test_the_head_key_depends_on_content_and_not_on_hashes():
    key = decode_one(stored_map()).head_key
    assert decode_one(stored_map(block_hashes=[91, 92])).head_key == key
    assert decode_one(stored_map(token_ids=[*range(4), 9, 9, 9, 9])).head_key == key
    others = [
        decode_one(stored_map(token_ids=[9, *range(1, 8)])).head_key,
        decode_one(stored_map(extra_keys=[["salt"], None])).head_key,
        decode_one(stored_map(lora_name="ad1")).head_key,
    ]
    assert len({key, *others}) == 4


def test_blocks_behind_a_parent_have_no_head_key_even_if_their_tokens_are_odd():
    assert decode_one(stored_map(parent_block_hash=3, token_ids=["not read"] * 8)).head_key is None


def test_a_batch_names_its_rank_or_takes_the_given_one():
    assert decode_batch(msgspec.msgpack.encode([1.0, [], 3]), 0, rank=1).rank == 3
    assert decode_batch(msgspec.msgpack.encode([1.0, [], None]), 0, rank=1).rank == 1
    assert decode_batch(msgspec.msgpack.encode([1.0, []]), 0, rank=1).rank == 1


def test_unknown_events_and_fields_are_left_out_and_told():
    told = []
    payload = msgspec.msgpack.encode([1.0, [{"type": "BlockMoved", "to": 1}, ["Later", 2], stored_map(novelty=[1])], 0, "more"])
    batch = decode_batch(payload, 0, on_unknown=told.append)
    assert told == ["BlockMoved", "Later"]
    assert [event.hashes for event in batch.events] == [(11, 12)]


def test_an_offloaded_block_is_read_whether_the_connector_knows_its_chain_or_only_its_hash():
    bare = stored_map(block_hashes=[5], token_ids=[], block_size=0, medium="CPU")
    assert decode_one(bare) == BlocksStored((5,), None, 0, DRAM, is_chained=False)
    told = decode_one(stored_map(medium="STORAGE", parent_block_hash=9))
    assert (told.medium, told.parent, told.is_chained) == (DISK, 9, True)
    assert decode_one(stored_map(medium="cpu")).medium == DRAM
    assert decode_one({"type": "BlockRemoved", "block_hashes": [5], "medium": "Storage"}).medium == DISK


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1\xff",
        msgspec.msgpack.encode({"ts": 1}),
        captured("int")[0][1][:-20],
        msgspec.msgpack.encode([1.0, [], math.nan]),
        msgspec.msgpack.encode([1.0, [], "0"]),
        b"\x92\xca\0\0\0\0\xdd\xff\xff\xff\xff",
        b"\x92\xca\0\0\0\0\x91" + b"\x91" * 500_000,
        msgspec.msgpack.encode([1.0, [0] * (MAX_EVENTS + 1)]),
    ],
)
def test_a_batch_that_cannot_be_read_is_a_value_error_that_names_it(payload):
    with pytest.raises(ValueError, match="batch 7"):
        decode_batch(payload, 7)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (stored_map(block_hashes="x"), Nonsense.UNREADABLE),
        (stored_map(block_hashes=["11", "12"]), Nonsense.UNREADABLE),
        (stored_map(block_hashes=[b"short", b"er"]), Nonsense.UNREADABLE),
        (stored_map(block_hashes=[1.5, 2.5]), Nonsense.UNREADABLE),
        (stored_map(block_size="4"), Nonsense.UNREADABLE),
        (stored_map(token_ids=[-1] * 8), Nonsense.UNREADABLE),
        (stored_map(token_ids=["a"] * 8), Nonsense.UNREADABLE),
        (stored_map(token_ids="text"), Nonsense.UNREADABLE),
        ({"type": "BlockStored"}, Nonsense.UNREADABLE),
        (["BlockStored", [1]], Nonsense.UNREADABLE),
        (stored_map(block_hashes=list(range(MAX_BLOCKS + 1))), Nonsense.OVERSIZE),
        (stored_map(token_ids=list(range(7))), Nonsense.CONTRADICTORY),
        (stored_map(token_ids=[]), Nonsense.CONTRADICTORY),
        (stored_map(block_size=8), Nonsense.CONTRADICTORY),
        (stored_map(block_size=0), Nonsense.CONTRADICTORY),
        (stored_map(block_size=-4), Nonsense.CONTRADICTORY),
        (stored_map(block_size=1 << 40), Nonsense.CONTRADICTORY),
        (stored_map(parent_block_hash=11), Nonsense.CONTRADICTORY),
        (stored_map(parent_block_hash=12), Nonsense.CONTRADICTORY),
        ({"type": "BlockMoved", "to": 1}, Nonsense.UNKNOWN_TYPE),
    ],
)
def test_nonsense_that_removes_nothing_is_counted_and_the_rest_of_its_batch_is_kept(event, why):
    payload = msgspec.msgpack.encode([1.0, [stored_map(), event, {"type": "AllBlocksCleared"}, event]])
    batch = decode_batch(payload, 7)
    assert [type(kept) for kept in batch.events] == [BlocksStored, BlocksCleared]
    (dropped,) = batch.dropped
    assert (dropped.why, dropped.count) == (why, 2)
    assert dropped.first.startswith("event 1, ")
    assert not batch.hides_removal


@pytest.mark.parametrize(
    "event",
    [
        {"type": "BlockRemoved"},
        {"type": "BlockRemoved", "block_hashes": [None]},
        {"type": "BlockRemoved", "block_hashes": list(range(MAX_BLOCKS + 1))},
        ["BlockRemoved", 5],
        {"kind": "x"},
        {"type": 3},
        [],
        [3],
        3,
        None,
        "BlockRemoved",
    ],
)
def test_what_is_or_may_be_an_unreadable_removal_is_said_of_its_batch(event):
    batch = decode_batch(msgspec.msgpack.encode([1.0, [stored_map(), event]]), 7)
    assert batch.hides_removal
    assert len(batch.events) == batch.dropped[0].count == 1


def test_what_is_said_of_nonsense_stays_short_whatever_the_engine_sends():
    event = {"type": "B" * 1_000_000, "block_hashes": ["x" * 1_000_000]}
    told = []
    batch = decode_batch(
        msgspec.msgpack.encode([1.0, [event] * 5 + [stored_map(medium="m" * 1_000_000)]]), 7, on_unknown=told.append
    )
    assert [len(name) for name in told] == [40] * 5
    assert [(dropped.count, len(dropped.first) <= 160) for dropped in batch.dropped] == [(5, True)]
    assert len(batch.events[0].medium) == 40


def test_a_stamp_that_cannot_be_ours_is_not_kept():
    assert decode_one(stored_map(session_id="s" * 128)).call_id == "s" * 128
    assert decode_one(stored_map(session_id="s" * 10_000_000)).call_id is None


def test_groups_of_other_kinds_may_name_more_tokens_than_blocks():
    assert decode_one(stored_map(block_hashes=[11], kv_cache_spec_kind="sliding_window", group_idx=1)).hashes == (11,)


def test_any_cut_or_flipped_byte_of_a_capture_is_read_or_refused():
    generator = random.Random(2)
    _sequence, payload = captured("bytes")[1]
    for _ in range(2000):
        broken = bytearray(payload[: generator.randint(1, len(payload))])
        broken[generator.randrange(len(broken))] ^= 1 << generator.randrange(8)
        try:
            decode_batch(bytes(broken), 0)
        except ValueError as error:
            assert "KV event batch 0" in str(error)  # noqa: PT017 - either outcome is right, no other error is
