"""Digests of a prompt's prefixes: equal digests mean equal roots, kinds and bytes up to there."""

from __future__ import annotations

import struct

from xxhash import xxh3_128, xxh3_128_digest

from turnwise.types import Digest, Prompt, PromptChain, SegmentKind

_ROOT_TAG = b"turnwise.prompt.1\0"
_KIND_TAGS = {kind: kind.value.encode() + b"\0" for kind in SegmentKind}
_pack_length = struct.Struct("<Q").pack


def prompt_chain(prompt: Prompt) -> PromptChain:
    """Chain the segments of `prompt` into one 16-byte digest each; `ends` counts raw bytes.

    The chain starts from the tagged root, and every raw part is length-prefixed, so bytes cannot move between segments,
    kinds or roots and still agree. The digest is a hint about caches: it authorises nothing.
    """
    digest: bytes = xxh3_128_digest(_ROOT_TAG + _pack_length(len(prompt.root)) + prompt.root)
    digests: list[Digest] = []
    ends: list[int] = []
    end = 0
    for segment in prompt.segments:
        raw = segment.raw
        hasher = xxh3_128(digest + _KIND_TAGS[segment.kind] + _pack_length(len(raw)))
        hasher.update(raw)
        digest = hasher.digest()
        end += len(raw)
        digests.append(Digest(digest))
        ends.append(end)
    return PromptChain(digests=tuple(digests), ends=tuple(ends))
