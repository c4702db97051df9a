"""vLLM's KV events as bytes: msgpack batches in, our `EventBatch` out. Pure.

A batch is an array `[time, [events], rank]`. Since 0.24 an event is a map with a `type`; before, an array that begins with it.
Block hashes are integers, or 32 raw bytes of which the integers are the low 64 bits. What a newer engine adds is ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import isfinite
from typing import Annotated, cast

import msgspec
import xxhash
from msgspec import Meta

from turnwise.engines.vllm.packed import first_integers, length
from turnwise.events import (
    FULL_ATTENTION,
    GPU,
    BlocksCleared,
    BlocksRemoved,
    BlocksStored,
    Dropped,
    EventBatch,
    KvEvent,
    Nonsense,
)
from turnwise.types import BLOCK_HASH_MASK, BlockHash

HASH_BYTES = 8
"""Of a hash in bytes the last 8 count; a shorter one is none, for it would be shared by many blocks."""

WireHash = int | Annotated[bytes, Meta(min_length=HASH_BYTES)]
END_OF_REPLAY = b"\xff" * 8
"""The sequence number that ends a replay."""

MAX_EVENTS = 1 << 17
"""Events in a batch: vLLM names each evicted block in an event of its own, and a step of 64 K tokens evicts 4,096 of 16."""

MAX_BLOCKS = 1 << 17
"""Blocks in an event: 2 M tokens at 16 a block, more than any prompt that a full report repeats."""

MAX_BLOCK_SIZE = 1 << 16
"""Tokens in a block; engines have 16 to 1,024."""

MAX_STAMP_CHARS = 128
"""Longer session ids are the client's own: ours have two dozen characters, and one is kept for each call."""

MAX_TEXT_CHARS = 40
"""Kept of a word that an engine says where nobody expected it."""

MAX_FIRST_CHARS = 160
"""Kept of what was wrong with an event."""

_NIL = b"\xc0"
_NO_TOKENS = b"\x90"
_UNREAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _NonsenseError(Exception):
    """An event that is left out, and why."""

    def __init__(self, why: Nonsense, text: str) -> None:
        super().__init__(text)
        self.why = why


class _StoredFields(msgspec.Struct, frozen=True, gc=False):
    """Fields in the order in which an array-encoded event lists them."""

    block_hashes: tuple[WireHash, ...]
    parent_block_hash: WireHash | None
    token_ids: msgspec.Raw
    block_size: int
    lora_id: int | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: msgspec.Raw = msgspec.Raw(_NIL)
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None


class _RemovedFields(msgspec.Struct, frozen=True, gc=False):
    block_hashes: tuple[WireHash, ...]
    medium: str | None = None
    group_idx: int | None = None


class _StoredMap(_StoredFields, frozen=True, gc=False, tag="BlockStored"):
    session_id: str | None = None


class _RemovedMap(_RemovedFields, frozen=True, gc=False, tag="BlockRemoved"):
    pass


class _ClearedMap(msgspec.Struct, frozen=True, gc=False, tag="AllBlocksCleared"):
    pass


class _StoredArray(_StoredFields, frozen=True, gc=False, tag="BlockStored", array_like=True):
    pass


class _RemovedArray(_RemovedFields, frozen=True, gc=False, tag="BlockRemoved", array_like=True):
    pass


class _ClearedArray(msgspec.Struct, frozen=True, gc=False, tag="AllBlocksCleared", array_like=True):
    pass


class _Batch(msgspec.Struct, frozen=True, gc=False, array_like=True):
    time: float
    events: list[msgspec.Raw]
    rank: int | None = None


class _MapBatch(msgspec.Struct, frozen=True, gc=False, array_like=True):
    time: float
    events: list[_StoredMap | _RemovedMap | _ClearedMap]
    rank: int | None = None


class _TypeOnly(msgspec.Struct, frozen=True, gc=False):
    type: str


_MapEvent = _StoredMap | _RemovedMap | _ClearedMap
_ArrayEvent = _StoredArray | _RemovedArray | _ClearedArray
_REMOVED = "BlockRemoved"
_KNOWN = {"BlockStored", _REMOVED, "AllBlocksCleared"}

_decode_batch = msgspec.msgpack.Decoder(_Batch).decode
_decode_map_batch = msgspec.msgpack.Decoder(_MapBatch).decode
_decode_map = msgspec.msgpack.Decoder(_MapEvent).decode
_decode_array = msgspec.msgpack.Decoder(_ArrayEvent).decode
_decode_type = msgspec.msgpack.Decoder(_TypeOnly).decode
_decode_list = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.msgpack.Decoder(str).decode
_decode_extra_keys = msgspec.msgpack.Decoder(list[msgspec.Raw] | None).decode


def decode_batch(
    payload: bytes, sequence: int, *, rank: int = 0, on_unknown: Callable[[str], None] | None = None
) -> EventBatch:
    """Decode one published batch.

    `rank` is taken where the batch names none. An event that cannot be read, or that cannot be true, is left out and
    counted in the batch's `dropped`; of an unknown type `on_unknown` is told the name, cut short. Raises `ValueError` where the
    batch as a whole cannot be read: it is then as good as lost.
    """
    try:
        # Nearly every batch is one of maps with nothing wrong, and is read in one pass.
        maps = _decode_map_batch(payload)
        if len(maps.events) <= MAX_EVENTS:
            return _batch(maps, sequence, rank, [_event(event) for event in maps.events])
    except (_NonsenseError, *_UNREAD, struct.error):
        pass  # each event by itself, to keep those that can be read
    try:
        batch = _decode_batch(payload)
    except _UNREAD as error:
        raise ValueError(f"KV event batch {sequence} ({len(payload)} bytes) cannot be read: {error}") from error
    if len(batch.events) > MAX_EVENTS:
        raise ValueError(f"KV event batch {sequence} has {len(batch.events)} events; {MAX_EVENTS} are read at most")
    events: list[KvEvent] = []
    dropped: dict[Nonsense, Dropped] = {}
    hides_removal = False
    for index, wire in enumerate(batch.events):
        raw = bytes(wire)
        try:
            events.append(_decode_event(raw))
        except (_NonsenseError, *_UNREAD, struct.error) as error:
            kind = _type_of(raw)
            why = error.why if isinstance(error, _NonsenseError) else Nonsense.UNREADABLE
            if kind is not None and kind not in _KNOWN:
                why = Nonsense.UNKNOWN_TYPE
                if on_unknown is not None:
                    on_unknown(kind[:MAX_TEXT_CHARS])
            before = dropped.get(why) or Dropped(why, 0, f"event {index}, {_shown(kind)}: {error}"[:MAX_FIRST_CHARS])
            dropped[why] = Dropped(why, before.count + 1, before.first)
            hides_removal = hides_removal or kind is None or kind == _REMOVED
    whole = _batch(batch, sequence, rank, events)
    return msgspec.structs.replace(whole, dropped=tuple(dropped.values()), hides_removal=hides_removal)


def _batch(batch: _Batch | _MapBatch, sequence: int, rank: int, events: list[KvEvent]) -> EventBatch:
    published_at = batch.time if isfinite(batch.time) else 0.0
    return EventBatch(sequence, rank if batch.rank is None else batch.rank, tuple(events), published_at)


def _decode_event(raw: bytes) -> KvEvent:
    return _event(_decode_array(raw) if _is_array(raw) else _decode_map(raw))


def _event(event: _MapEvent | _ArrayEvent) -> KvEvent:
    if isinstance(event, _StoredFields):
        return _stored(event)
    if isinstance(event, _RemovedFields):
        return BlocksRemoved(_hashes(event.block_hashes), _medium(event.medium), event.group_idx or 0)
    return BlocksCleared()


def _is_array(raw: bytes) -> bool:
    return raw[0] & 0xF0 == 0x90 or raw[0] in {0xDC, 0xDD}


def _type_of(raw: bytes) -> str | None:
    """The type that an event gives itself; None where even that cannot be read."""
    try:
        if not _is_array(raw):
            return _decode_type(raw).type
        fields = _decode_list(raw)
        return _decode_text(fields[0]) if fields else None
    except _UNREAD:
        return None


def _shown(kind: str | None) -> str:
    return "of no type" if kind is None else kind[:MAX_TEXT_CHARS]


def _stored(event: _StoredFields) -> BlocksStored:
    hashes = _hashes(event.block_hashes)
    parent = None if event.parent_block_hash is None else _hashes((event.parent_block_hash,))[0]
    medium, block_size, group = _medium(event.medium), event.block_size, event.group_idx or 0
    spec_kind = event.kv_cache_spec_kind or FULL_ATTENTION
    # An offloading connector that knows its blocks by nothing but their hashes says so by leaving out all else.
    is_chained = medium == GPU or bytes(event.token_ids) != _NO_TOKENS
    if is_chained:
        if not 0 < block_size <= MAX_BLOCK_SIZE:
            raise _NonsenseError(Nonsense.CONTRADICTORY, f"blocks of {block_size} tokens")
        if parent is not None and hashes and parent in (hashes[0], hashes[-1]):
            raise _NonsenseError(Nonsense.CONTRADICTORY, "a block that follows itself")
        # Groups of other kinds leave out blocks, and name the tokens of all.
        if spec_kind == FULL_ATTENTION and not group and length(event.token_ids) != block_size * len(hashes):
            raise _NonsenseError(
                Nonsense.CONTRADICTORY,
                f"{length(event.token_ids)} tokens in {len(hashes)} blocks of {block_size}",
            )
    stamp = event.session_id if isinstance(event, _StoredMap) else None
    return BlocksStored(
        hashes=hashes,
        parent=parent,
        block_size=block_size,
        medium=medium,
        call_id=stamp if stamp is None or len(stamp) <= MAX_STAMP_CHARS else None,
        head_key=_head_key(event) if parent is None and medium == GPU else None,
        spec_kind=spec_kind[:MAX_TEXT_CHARS],
        group=group,
        is_chained=is_chained,
    )


def _medium(name: str | None) -> str:
    return GPU if not name else name[:MAX_TEXT_CHARS].upper()


def _hashes(values: tuple[WireHash, ...]) -> tuple[BlockHash, ...]:
    if len(values) > MAX_BLOCKS:
        raise _NonsenseError(Nonsense.OVERSIZE, f"{len(values)} blocks; {MAX_BLOCKS} are read at most")
    # One comprehension without a call for each block: a step may store thousands.
    try:
        masked = [value & BLOCK_HASH_MASK for value in values]  # type: ignore[operator]  # bytes, where it is not
    except TypeError:
        masked = [
            (value if isinstance(value, int) else int.from_bytes(value[-HASH_BYTES:], "big")) & BLOCK_HASH_MASK
            for value in values
        ]
    return cast("tuple[BlockHash, ...]", tuple(masked))


def _head_key(event: _StoredFields) -> int:
    """xxh3_64 over the first block's token ids (little-endian 32 bits each), extra keys and adapter name; low 60 bits."""
    tokens = first_integers(event.token_ids, event.block_size)
    extra_keys = _decode_extra_keys(event.extra_keys)
    hasher = xxhash.xxh3_64(struct.pack(f"<{len(tokens)}I", *tokens))
    hasher.update(bytes(extra_keys[0]) if extra_keys else _NIL)
    hasher.update((event.lora_name or "").encode())
    return hasher.intdigest() & BLOCK_HASH_MASK
