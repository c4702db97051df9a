"""Where two prompts part: the first segment that differs, and what of the earlier one stands again behind it."""

from __future__ import annotations

import re
from bisect import bisect_left

import msgspec
from xxhash import xxh3_64_intdigest

from turnwise.dialects.prompt import CHUNK_BYTES
from turnwise.proxy.lint.texts import common_prefix
from turnwise.types import Prompt, PromptChain, SegmentKind

HEAD_KINDS = frozenset((SegmentKind.TEMPLATE, SegmentKind.TOOLS, SegmentKind.SYSTEM))


class Part(msgspec.Struct, frozen=True, gc=False):
    """One whole part of a prompt, the pieces of a large one joined: segments from `first` on, and their bytes."""

    kind: SegmentKind
    first: int
    raw: bytes


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where the later of two prompts stops being the earlier: offsets count raw bytes of its segments."""

    segment: int
    kind: SegmentKind
    segment_byte: int
    prompt_byte: int


def head_length(kinds: tuple[SegmentKind, ...]) -> int:
    """Segments before the first turn."""
    for position, kind in enumerate(kinds):
        if kind not in HEAD_KINDS:
            return position
    return len(kinds)


def first_difference(one: PromptChain, other: PromptChain) -> int:
    """The first segment that differs, the length of the shorter where none does; a bisection, for digests are of prefixes."""
    shorter = min(len(one.digests), len(other.digests))
    return bisect_left(range(shorter), True, key=lambda position: one.digests[position] != other.digests[position])


def part_at(prompt: Prompt, position: int) -> Part | None:
    """The part that holds a segment; None behind the last.

    Two turns of one kind of which the first has just the size of a piece are taken for one part. That merely makes the text
    that is compared longer.
    """
    kinds, raws = prompt.kinds, prompt.raws
    if position >= len(kinds):
        return None
    kind = kinds[position]
    first, end = position, position + 1
    while first and kinds[first - 1] is kind and len(raws[first - 1]) == CHUNK_BYTES:
        first -= 1
    while end < len(kinds) and kinds[end] is kind and len(raws[end - 1]) == CHUNK_BYTES:
        end += 1
    return Part(kind, first, b"".join(raws[first:end]))


def place_of(prompt: Prompt, chain: PromptChain, position: int, earlier: Part | None, later: Part | None) -> Place:
    """The first byte of the later prompt that differs, in whose segment `position` the two part."""
    if earlier is not None and later is not None and earlier.kind is later.kind and earlier.first == later.first:
        start = chain.ends[later.first - 1] if later.first else 0
        byte = start + common_prefix(earlier.raw, later.raw)
        position = max(position, min(bisect_left(chain.ends, byte + 1), len(chain.ends) - 1))
    else:
        byte = chain.ends[position - 1] if position else 0
    start = chain.ends[position - 1] if position else 0
    return Place(position, prompt.kinds[position], max(0, byte - start), max(byte, start))


def hashes(prompt: Prompt) -> tuple[int, ...]:
    """xxh3_64 of each segment, whatever stands before it; two that differ in kind are told apart by it."""
    return tuple(xxh3_64_intdigest(raw, seed=_SEEDS[kind]) for kind, raw in zip(prompt.kinds, prompt.raws, strict=True))


_CALL_ID = re.compile(rb'"(?:tool_call_id|tool_use_id|call_id)"')
_SEEDS = {kind: number for number, kind in enumerate(SegmentKind)}


class Views(msgspec.Struct, frozen=True):
    """One prompt as the comparison reads it."""

    prompt: Prompt
    chain: PromptChain
    head: int
    hashes: tuple[int, ...]

    @classmethod
    def of(cls, prompt: Prompt, chain: PromptChain) -> Views:
        """A prompt with the length of its head and a hash of each segment."""
        return cls(prompt, chain, head_length(prompt.kinds), hashes(prompt))

    def said_since(self, position: int) -> dict[int, int]:
        """Where each segment from `position` on that is of this conversation alone stands, by its hash.

        That is what the model wrote, and what answers a call of it by the call's id.
        """
        kinds, raws = self.prompt.kinds, self.prompt.raws
        return {
            key: at
            for at, key in enumerate(self.hashes[position:], position)
            if kinds[at] is SegmentKind.ASSISTANT or (kinds[at] is SegmentKind.TOOL and _CALL_ID.search(raws[at]))
        }
