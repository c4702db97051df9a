"""What is written down of the index, and read back: plain values, arrays in msgpack, bytes in the order of this machine."""

from __future__ import annotations

import msgspec

from turnwise.index.entries import Answered
from turnwise.index.values import AnswerKind, DomainKey
from turnwise.types import BlockHash, Digest, HitSource, ReplicaId


class RunState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One run: its `blocks`, 8 bytes each, in parts of which each has one set of holders."""

    parent: BlockHash | None
    blocks: bytes
    parts: tuple[tuple[int, int], ...]
    """Which set, by its number in `BlocksState.holders`, and how many blocks."""


class SlotState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One slot: places of its runs among all, 4 bytes each, in order of arrival, and the copies it holds of blocks."""

    runs: bytes
    copies: dict[BlockHash, int]


class BlocksState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A block index; a slot is known by its place in `slots`."""

    slots: tuple[SlotState, ...]
    holders: tuple[tuple[int, ...], ...]
    """Sets of slots; the first is empty."""
    runs: list[RunState]


class EntryState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One `Entry`, its digest, and the place of its chain."""

    digest: Digest
    chain: int
    parent: Digest | None
    num_tokens: int | None
    shared_blocks: int | None
    estimated_blocks: int
    window_pairs: int
    window_blocks: int
    used_at: int
    answered: Answered | None


class TreeState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The entries of one body of evidence, every one after its parent and those on which none hangs in order of use."""

    entries: list[EntryState]
    chains: list[tuple[bytes, Digest | None]]
    """Blocks, 8 bytes each, and whose answer the last of them hold."""
    num_lessons: int


class TemplateState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How far one template is trusted."""

    template: Digest
    strikes: int
    agreed_in_a_row: int
    answers: dict[AnswerKind, tuple[int, bool]]


class DomainState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One hash domain."""

    key: DomainKey
    is_shared: bool
    block_size: int | None
    heads: tuple[tuple[int, BlockHash], ...]
    blocks: BlocksState
    evidence: TreeState
    templates: tuple[TemplateState, ...]


class ReplicaState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One replica: by what facts it was followed, where its domain stands among all, and its slots there by medium."""

    replica: ReplicaId
    key: DomainKey
    num_blocks: int | None
    has_events: bool
    domain: int
    slots: dict[str, int]
    is_split: bool
    is_predicted_only: bool
    weighed: dict[HitSource, tuple[float, float]]
    """Tokens that its sources claimed lately, and those of them that were missing."""


class IndexState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """All of it."""

    replicas: tuple[ReplicaState, ...]
    domains: tuple[DomainState, ...]
    rates: dict[str, tuple[float, float, float]]
    """Bytes per token of each model: the rate, and the bytes and tokens that it weighs."""
