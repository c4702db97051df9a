"""Digests of a prompt's prefixes: equal digests mean equal roots, kinds and bytes up to there."""

from __future__ import annotations

import struct
from typing import cast

from xxhash import xxh3_128, xxh3_128_digest

from turnwise.types import Digest, Prompt, PromptChain, SegmentKind

COPIED_UP_TO_BYTES = 16 * 1024
"""Up to this size a segment is joined to its head and hashed in one call: the copy costs less than a hasher of its own."""

_ROOT_TAG = b"turnwise.prompt.1\0"
_KIND_TAGS = {kind: kind.value.encode() + b"\0" for kind in SegmentKind}
_pack_length = struct.Struct("<Q").pack


def prompt_chain(prompt: Prompt) -> PromptChain:
    """Chain the segments of `prompt` into one 16-byte digest each; `ends` counts raw bytes.

    The chain starts from the tagged root, and every raw part is length-prefixed, so bytes cannot move between segments,
    kinds or roots and still agree. The digest is a hint about caches: it authorises nothing.
    """
    root = prompt.root
    digest: bytes = xxh3_128_digest(_ROOT_TAG + _pack_length(len(root)) + root)
    digests: list[bytes] = []
    ends: list[int] = []
    end = 0
    kinds = prompt.kinds
    for position, raw in enumerate(prompt.raws):
        tag, num_bytes = _KIND_TAGS[kinds[position]], len(raw)
        if num_bytes <= COPIED_UP_TO_BYTES:
            digest = xxh3_128_digest(b"".join((digest, tag, _pack_length(num_bytes), raw)))
        else:
            hasher = xxh3_128(digest + tag + _pack_length(num_bytes))
            hasher.update(raw)
            digest = hasher.digest()
        end += num_bytes
        digests.append(digest)
        ends.append(end)
    return PromptChain(cast("tuple[Digest, ...]", tuple(digests)), tuple(ends))
