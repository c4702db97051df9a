"""vLLM's KV events as bytes: msgpack batches in, our `EventBatch` out. Pure.

A batch is an array `[time, [events], rank]`. Since 0.24 an event is a map with a `type`; before, an array that begins with it.
Block hashes are integers, or 32 raw bytes of which the integers are the low 64 bits. What a newer engine adds is ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import cast

import msgspec
import xxhash

from turnwise.events import FULL_ATTENTION, BlocksCleared, BlocksRemoved, BlocksStored, EventBatch, KvEvent
from turnwise.types import BLOCK_HASH_MASK, BlockHash

WireHash = int | bytes
END_OF_REPLAY = b"\xff" * 8
"""The sequence number that ends a replay."""

_NIL = b"\xc0"


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


class _TypeOnly(msgspec.Struct, frozen=True, gc=False):
    type: str


_MapEvent = _StoredMap | _RemovedMap | _ClearedMap
_ArrayEvent = _StoredArray | _RemovedArray | _ClearedArray
_KNOWN = {"BlockStored", "BlockRemoved", "AllBlocksCleared"}

_decode_batch = msgspec.msgpack.Decoder(_Batch).decode
_decode_map = msgspec.msgpack.Decoder(_MapEvent).decode
_decode_array = msgspec.msgpack.Decoder(_ArrayEvent).decode
_decode_type = msgspec.msgpack.Decoder(_TypeOnly).decode
_decode_list = msgspec.msgpack.Decoder(list[object]).decode
_decode_tokens = msgspec.msgpack.Decoder(list[int]).decode
_decode_extra_keys = msgspec.msgpack.Decoder(list[msgspec.Raw] | None).decode


def decode_batch(
    payload: bytes, sequence: int, *, rank: int = 0, on_unknown: Callable[[str], None] | None = None
) -> EventBatch:
    """Decode one published batch.

    `rank` is taken where the batch names none. Events of unknown type are left out, and `on_unknown` is told their type.
    Raises `ValueError` saying which part cannot be read.
    """
    try:
        batch = _decode_batch(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"KV event batch {sequence} ({len(payload)} bytes) cannot be read: {error}") from error
    events: list[KvEvent] = []
    for index, raw in enumerate(batch.events):
        try:
            event = _decode_event(bytes(raw), on_unknown)
        except (msgspec.DecodeError, UnicodeDecodeError, struct.error) as error:
            raise ValueError(f"event {index} of KV event batch {sequence} cannot be read: {error}") from error
        if event is not None:
            events.append(event)
    return EventBatch(sequence, rank if batch.rank is None else batch.rank, tuple(events))


def _decode_event(raw: bytes, on_unknown: Callable[[str], None] | None) -> KvEvent | None:
    is_array = raw[0] & 0xF0 == 0x90 or raw[0] in {0xDC, 0xDD}
    try:
        event: _MapEvent | _ArrayEvent = _decode_array(raw) if is_array else _decode_map(raw)
    except msgspec.ValidationError:
        kind = _type_of(raw, is_array=is_array)
        if kind in _KNOWN:
            raise
        if on_unknown is not None:
            on_unknown(kind)
        return None
    if isinstance(event, _StoredFields):
        return _stored(event)
    if isinstance(event, _RemovedFields):
        return BlocksRemoved(_hashes(event.block_hashes), event.medium or "GPU", event.group_idx or 0)
    return BlocksCleared()


def _type_of(raw: bytes, *, is_array: bool) -> str:
    if not is_array:
        return _decode_type(raw).type
    fields = _decode_list(raw)
    if not fields or not isinstance(fields[0], str):
        raise msgspec.ValidationError("an event array must begin with its type")
    return fields[0]


def _stored(event: _StoredFields) -> BlocksStored:
    parent = None if event.parent_block_hash is None else _hashes((event.parent_block_hash,))[0]
    return BlocksStored(
        hashes=_hashes(event.block_hashes),
        parent=parent,
        block_size=event.block_size,
        medium=event.medium or "GPU",
        call_id=event.session_id if isinstance(event, _StoredMap) else None,
        head_key=_head_key(event) if parent is None else None,
        spec_kind=event.kv_cache_spec_kind or FULL_ATTENTION,
        group=event.group_idx or 0,
    )


def _hashes(values: tuple[WireHash, ...]) -> tuple[BlockHash, ...]:
    # One comprehension without a call for each block: a step may store thousands.
    masked = [(value if isinstance(value, int) else int.from_bytes(value[-8:], "big")) & BLOCK_HASH_MASK for value in values]
    return cast("tuple[BlockHash, ...]", tuple(masked))


def _head_key(event: _StoredFields) -> int:
    """xxh3_64 over the first block's token ids (little-endian 32 bits each), extra keys and adapter name; low 60 bits."""
    tokens = _decode_tokens(event.token_ids)[: event.block_size]
    extra_keys = _decode_extra_keys(event.extra_keys)
    hasher = xxhash.xxh3_64(struct.pack(f"<{len(tokens)}I", *tokens))
    hasher.update(bytes(extra_keys[0]) if extra_keys else _NIL)
    hasher.update((event.lora_name or "").encode())
    return hasher.intdigest() & BLOCK_HASH_MASK
