"""The one search over all bytes of a body: whether it is UTF-8, and where its `cache_control` markers are; and how they go."""

from __future__ import annotations

import re

import msgspec
from xxhash import xxh3_128_digest

from turnwise.dialects.body import check_utf8
from turnwise.types import Raw

TTL_S, LONG_TTL_S = 300.0, 3600.0
"""How long a marked prefix is to be kept: as long as Anthropic keeps it, or as the marker with a ttl of an hour asks."""

BLOCK_BYTES = 16 * 1024
MAX_CLEAR_BLOCKS = 8192
"""Blocks remembered as UTF-8 without a marker: 128 MiB of conversations, in about 1 MiB."""

_NAME = b'"cache_control"'
_OVERLAP = len(_NAME) - 1
_LONGEST_TAIL = 3
_MEMBER = re.compile(
    _NAME
    + rb'[ \t\n\r]*:[ \t\n\r]*(null|\{(?:[ \t\n\r]*"\w+"[ \t\n\r]*:[ \t\n\r]*(?:"[^"\\]*"|\w+)[ \t\n\r]*,?)*+[ \t\n\r]*\})'
    rb"([ \t\n\r]*,[ \t\n\r]*)?"
)
_WHITESPACE = b" \t\n\r"
_COMMA, _BRACE = b",{"
_HOUR = re.compile(rb'"ttl"[ \t\n\r]*:[ \t\n\r]*"1h"')
_clear_blocks: set[bytes] = set()


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A marker that was taken out."""

    at: int
    """Offset, in what is left, of the byte before it."""
    ttl_s: float


def find(document: bytes, start: int = 0, end: int | None = None) -> list[int]:
    """Offsets from `start` to `end` at which a JSON text has what looks like a marker, ascending, and perhaps some outside.

    Raises `ClientFault` where the text is not UTF-8.

    Searching a byte costs ten times what hashing it does, and an agent sends nearly the same body with every turn. So a large
    body is searched only in the blocks that were not seen before, and none of them is kept. Should two blocks ever have one
    digest, a marker may be missed, and the prompt is then merely taken for another one; or bytes pass that are not UTF-8,
    which the engine then refuses.
    """
    if len(document) <= BLOCK_BYTES:
        if not document.isascii():
            check_utf8(document)
        # One byte is found many times faster than a name, and prose has no underscore.
        return _find(document, start, end) if document.find(b"_", start, end) >= 0 else []
    return _find_in_blocks(document)


def _find_in_blocks(document: bytes) -> list[int]:
    view = memoryview(document)
    unseen: dict[int, bytes] = {}
    for start in range(0, len(document), BLOCK_BYTES):
        digest = xxh3_128_digest(view[start : start + BLOCK_BYTES + _OVERLAP])
        if digest not in _clear_blocks:
            unseen[start] = digest
    found: list[int] = []
    end = 0
    for start in unseen:
        if start < end:
            continue
        end = start + BLOCK_BYTES
        while end in unseen:  # one search over neighbours is faster than one for each
            end += BLOCK_BYTES
        if not _is_utf8(document, start, end):
            check_utf8(document)
        found += _find(document, start, end + _OVERLAP)
    for at in found:
        unseen.pop(at - at % BLOCK_BYTES, None)
    if len(_clear_blocks) + len(unseen) > MAX_CLEAR_BLOCKS:
        _clear_blocks.clear()
    _clear_blocks.update(unseen.values())
    return found


def _is_utf8(document: bytes, start: int, end: int) -> bool:
    """Whether the characters that begin from `start` to `end` are whole and valid, but for a tail of one before `start`.

    A tail has three bytes at most and is of the block before, which a digest covers up to there. No JSON text begins with one.
    """
    if document[start : end + _LONGEST_TAIL].isascii():
        return True
    try:
        document[_behind_tail(document, start) : _behind_tail(document, end)].decode()
    except UnicodeDecodeError:
        return False
    return True


def _behind_tail(document: bytes, at: int) -> int:
    end = min(at + _LONGEST_TAIL, len(document))
    while at < end and document[at] & 0xC0 == 0x80:
        at += 1
    return at


def _find(document: bytes, start: int, end: int | None) -> list[int]:
    found: list[int] = []
    while (start := document.find(_NAME, start, end)) >= 0:
        found.append(start)
        start += len(_NAME)
    return found


def without_cache_control(raw: Raw) -> Raw:
    """`raw` less its `cache_control` markers: see `taken`."""
    return taken(raw)[0]


def taken(raw: Raw) -> tuple[Raw, list[Mark]]:
    """`raw` less its `cache_control` markers, at any depth, each with the comma that goes with it; and the markers.

    Clients move this marker to the newest message on every turn, and no chat template renders it. Only what looks like the
    marker goes (`null`, which marks nothing, or a flat object that says `ephemeral`): a tool may well have a parameter of that
    name.
    """
    text = bytes(raw)
    marks: list[Mark] = []
    if _NAME not in text:
        return raw, marks
    kept: list[bytes] = []
    done = at = num_kept = 0
    while match := _MEMBER.search(text, at):
        span = _marker(text, match)
        if span is None:
            at = match.start() + len(_NAME)  # what it was taken to hold may hold a marker
            continue
        kept.append(text[done : span[0]])
        num_kept += span[0] - done
        if match[1] != b"null":
            marks.append(Mark(num_kept - 1, LONG_TTL_S if _HOUR.search(match[1]) else TTL_S))
        done, at = span[1], match.end()
    kept.append(text[done:])
    return b"".join(kept), marks


def _marker(text: bytes, match: re.Match[bytes]) -> tuple[int, int] | None:
    """From where to where a marker goes, the comma that goes with it included; None where it only looks like one."""
    if match[1] != b"null" and b'"ephemeral"' not in match[1]:
        return None
    before = match.start() - 1
    while text[before] in _WHITESPACE:
        before -= 1
    # Within a string the quote would be escaped, so it is a backslash that stands before it there.
    if text[before] == _COMMA:
        return before, match.end(1)
    return (match.start(), match.end()) if text[before] == _BRACE else None
