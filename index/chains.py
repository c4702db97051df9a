"""Digests of a prompt's prefixes: equal digests mean equal roots, kinds and bytes up to there."""

from __future__ import annotations

import struct
from typing import cast

from xxhash import xxh3_128, xxh3_128_digest

from turnwise.types import Digest, Prompt, PromptChain, SegmentKind

COPIED_UP_TO_BYTES = 16 * 1024
"""Up to this size a segment is joined to its head and hashed in one call: the copy costs less than a hasher of its own."""

MAX_ROOTS, MAX_ROOT_BYTES = 1024, 512
"""How many roots have their digest remembered, and how long these may be. There is one for each model and salt."""

_TEMPLATE = SegmentKind.TEMPLATE
_ROOT_TAG = b"turnwise.prompt.1\0"
_KIND_TAGS = {kind: kind.value.encode() + b"\0" for kind in SegmentKind}
_BARE = frozenset({SegmentKind.TEXT, SegmentKind.TOKENS})
"""What ends a prompt that is tokenized as it stands, with no template."""

_NO_TEMPLATE = Digest(b"")
_pack_length = struct.Struct("<Q").pack
_digest_by_root: dict[bytes, bytes] = {}


def prompt_chain(prompt: Prompt) -> PromptChain:
    """Chain the segments of `prompt` into one 16-byte digest each; `ends` counts raw bytes.

    The chain starts from the tagged root, and every raw part is length-prefixed, so bytes cannot move between segments,
    kinds or roots and still agree. The digest is a hint about caches: it authorises nothing. What is known of a prompt read
    before is gone on from.
    """
    root = digest = _digest_by_root.get(prompt.root) or _learn_root(prompt.root)
    digests: list[bytes] = []
    ends: list[int] = []
    end = 0
    known_digests: tuple[Digest, ...] = ()
    known_ends: tuple[int, ...] = ()
    kinds, raws, num_known = prompt.kinds, prompt.raws, prompt.num_known
    if prompt.known is not None:
        known_digests, known_ends = prompt.known.digests[:num_known], prompt.known.ends[:num_known]
        digest, end, raws = known_digests[-1], known_ends[-1], raws[num_known:]
    for position, raw in enumerate(raws, num_known):
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
    all_digests, all_ends = cast("tuple[Digest, ...]", tuple(digests)), tuple(ends)
    if prompt.known is not None:
        all_digests, all_ends = known_digests + all_digests, known_ends + all_ends
    if not kinds or kinds[-1] in _BARE:
        template = _NO_TEMPLATE
    else:
        template = all_digests[0] if kinds[0] is _TEMPLATE else cast("Digest", root)
    return PromptChain(all_digests, all_ends, prompt.answer, template)


def _learn_root(root: bytes) -> bytes:
    digest: bytes = xxh3_128_digest(_ROOT_TAG + _pack_length(len(root)) + root)
    if len(root) <= MAX_ROOT_BYTES:
        if len(_digest_by_root) >= MAX_ROOTS:
            _digest_by_root.clear()
        _digest_by_root[root] = digest
    return digest
