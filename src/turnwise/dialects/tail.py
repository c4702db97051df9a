"""What the newest turns of a prompt add to its conversation, and who began it: read out of its segments when somebody asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from turnwise.dialects import quotes
from turnwise.dialects.answer import UNREADABLE
from turnwise.dialects.prompt import CHUNK_BYTES
from turnwise.turns import MAX_ID_CHARS, NO_TAIL, Tail
from turnwise.types import Prompt, Raw, SegmentKind

MAX_SEGMENTS = 512
"""Segments looked at, the newest: results of tools called at once are a few dozen."""

MAX_BYTES = 1024 * 1024
"""Bytes of turns looked at, the newest: results beyond are not told, and reading these takes a millisecond."""

MAX_TRIES = 8
"""Ends tried of a turn in pieces. The last piece is shorter than the others, but for one turn of 4,096."""

TOOL, USER = SegmentKind.TOOL, SegmentKind.USER
WORDS_ALONE = Tail((), is_user_last=True)
_LOOKED_AT = frozenset((TOOL, USER))
_OPENING_TAG = re.compile(r"\s*<([A-Za-z][\w.:-]*)[\s>]")

Results = Callable[[Raw], Iterable[Any]]
"""Gives what stands as the ids of tool results in a turn; raises what `UNREADABLE` names where that is not known."""


class _Part(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None


class _Turn(msgspec.Struct, gc=False):
    content: str | list[_Part] | None = None


_TURN = msgspec.json.Decoder(_Turn)
_TEXT = msgspec.json.Decoder(str)
_JSON = msgspec.json.Decoder(msgspec.Raw)


def tail(prompt: Prompt, first: int, results: Results, places: frozenset[SegmentKind]) -> Tail:
    """What the segments from number `first` on add: see `Dialect.tail`. Turns of `places` are those that may hold results.

    A user's turn that stands with results of tools is the user's words only where some text of it is: clients put notes of
    their own there, each within one tag (`<system-reminder>`).
    """
    kinds, raws = prompt.kinds, prompt.raws
    num = len(kinds)
    if first >= num:
        return NO_TAIL
    is_user_last = kinds[-1] is USER
    turns: Sequence[tuple[SegmentKind, Raw]]
    if first == num - 1 and len(raws[first]) < CHUNK_BYTES:  # as most calls go on
        if kinds[first] not in places:
            return WORDS_ALONE if is_user_last else NO_TAIL
        turns = ((kinds[first], raws[first]),)
    else:
        first = max(first, num - MAX_SEGMENTS)
        kinds = kinds[first:]
        if places.isdisjoint(kinds):
            return WORDS_ALONE if is_user_last else NO_TAIL
        turns = whole_turns(kinds, raws[first:])
    found: list[str] = []
    for kind, turn in turns:
        if kind in places:
            try:
                names = results(turn)
            except UNREADABLE:
                continue
            for name in names:
                if type(name) is str and 0 < len(name) <= MAX_ID_CHARS:
                    found.append(name)  # noqa: PERF401 - a comprehension is a call, for one name as a rule
    if not found:
        return WORDS_ALONE if is_user_last else NO_TAIL
    return Tail(tuple(found), is_user_last and not (turns and all(map(_is_note, texts(turns[-1][1])))))


def first_words(prompt: Prompt) -> tuple[int, ...]:
    """Hashes of what the user says first, in one turn or in several that follow each other: see `Dialect.quotes`."""
    kinds = prompt.kinds
    if USER not in kinds:
        return ()
    first = end = kinds.index(USER)
    last = min(len(kinds), first + MAX_SEGMENTS)
    while end < last and kinds[end] is USER:
        end += 1
    turns = whole_turns(kinds[first:end], prompt.raws[first:end])
    return quotes.of_texts(text for _, turn in turns for text in texts(turn))


def texts(turn: Raw) -> list[str]:
    """The texts of a turn, part by part; none where it is of another shape."""
    try:
        if bytes(memoryview(turn)[:1]) == b'"':
            return [_TEXT.decode(turn)]
        content = _TURN.decode(turn).content
    except UNREADABLE:
        return []
    if content is None or isinstance(content, str):
        return [content or ""]
    return [part.text for part in content if type(part.text) is str]


def whole_turns(kinds: Sequence[SegmentKind], raws: Sequence[Raw]) -> list[tuple[SegmentKind, Raw]]:
    """The turns of users and tools among these segments, put together where they are in pieces; the newest `MAX_BYTES`."""
    if len(raws) == 1 and len(raws[0]) < CHUNK_BYTES:
        return [(kinds[0], raws[0])] if kinds[0] in _LOOKED_AT else []
    if sum(map(len, raws)) < CHUNK_BYTES:  # none of them is a piece, as of most prompts that bring a result
        return [turn for turn in zip(kinds, raws, strict=True) if turn[0] in _LOOKED_AT]
    first, room = len(kinds), MAX_BYTES
    while first and room >= 0:
        first -= 1
        if kinds[first] in _LOOKED_AT:
            room -= len(raws[first])
    if room < 0:
        first += 1
    turns: list[tuple[SegmentKind, Raw]] = []
    while first < len(kinds):
        kind = kinds[first]
        end = first + 1
        if kind in _LOOKED_AT:
            raw = raws[first]
            if len(raw) == CHUNK_BYTES and not _is_whole(raw):
                end = _end_of_pieces(kinds, raws, first)
                raw = b"".join(raws[first:end])
            turns.append((kind, raw))
        first = end
    return turns


def _end_of_pieces(kinds: Sequence[SegmentKind], raws: Sequence[Raw], first: int) -> int:
    """Behind which segment a turn ends whose first piece is this: a shorter one, or one that makes a whole of it."""
    num_tries = 0
    end = first + 1
    while end < len(kinds) and kinds[end] is kinds[first]:
        end += 1
        if len(raws[end - 1]) < CHUNK_BYTES:
            break
        if num_tries < MAX_TRIES and bytes(raws[end - 1][-1:]) == b"}":
            num_tries += 1
            if _is_whole(b"".join(raws[first:end])):
                break
    return end


def _is_whole(raw: Raw) -> bool:
    try:
        _JSON.decode(raw)
    except UNREADABLE:
        return False
    return True


def _is_note(text: str) -> bool:
    """Whether a text is nothing but tagged notes, one behind the other."""
    at = 0
    while tag := _OPENING_TAG.match(text, at):
        closing = f"</{tag[1]}>"
        end = text.find(closing, tag.end())
        if end < 0:
            return False
        at = end + len(closing)
    return not text[at:].strip()
