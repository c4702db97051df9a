"""What a tool call's arguments say at some length, and what the user says first: equal hashes where one quotes the other.

An agent that is begun by a tool call is mostly told its task in the words of an argument: as its first message, as one part
of it among reminders of the client, as a line, or behind a label such as `Task: `. No text is kept, only hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from turnwise.dialects.answer import UNREADABLE
from turnwise.turns import MAX_QUOTES

MIN_CHARS, MIN_WORDS = 16, 3
"""What is shorter says too little: names, paths and commands of one word are in many prompts."""

MAX_ARGUMENT_BYTES = 64 * 1024
"""Longest arguments that are looked at, and how much of a user's turn is."""

MAX_CANDIDATES = 512
"""Texts of one user's turn that are looked at: with parts of 64 KB they take a millisecond, those of most clients 10 us."""

MAX_DEPTH = 8
MAX_STRINGS = 64
"""How deep, and how many strings of the arguments are looked at."""

_LABEL = ": "
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def of_arguments(arguments: str | bytes) -> tuple[int, ...]:
    """Hashes of the strings in a call's arguments (a JSON text), then of their longest lines, `MAX_QUOTES` at most."""
    if not MIN_CHARS < len(arguments) <= MAX_ARGUMENT_BYTES:
        return ()
    try:
        strings = list(islice(_strings(_ANY.decode(arguments), MAX_DEPTH), MAX_STRINGS))
    except UNREADABLE:
        return ()
    lines = (line for string in strings if "\n" in string for line in string.splitlines())
    return _hashes((*strings, *sorted(lines, key=len, reverse=True)), MAX_QUOTES)


def of_texts(texts: Iterable[str]) -> tuple[int, ...]:
    """Hashes of what a user's turn of these parts may quote: each part, its lines, and what stands in these behind a label.

    Parts are whole before lines are looked at, and the lines of later parts come first: clients put the task last.
    """
    room = MAX_ARGUMENT_BYTES
    parts: list[str] = []
    for text in texts:
        room -= len(text)
        if room < 0:
            break
        parts.append(text)
    pieces = (piece for part in reversed(parts) for piece in _pieces(part))
    return _hashes(islice(chain(parts, pieces), MAX_CANDIDATES), MAX_CANDIDATES)


def _pieces(text: str) -> Iterator[str]:
    lines = text.splitlines()
    for line in lines:
        if len(lines) > 1:
            yield line
        _, label, rest = line.partition(_LABEL)
        if label:
            yield rest


def _strings(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner, depth - 1)


def _hashes(texts: Iterable[str], limit: int) -> tuple[int, ...]:
    """Hashes of the texts that say enough, each once; however they are spaced and broken into lines."""
    found: dict[int, None] = {}
    for text in texts:
        if len(text) < MIN_CHARS:
            continue
        words = text.split()
        said = " ".join(words)
        if len(said) >= MIN_CHARS and (len(words) >= MIN_WORDS or _is_script_without_spaces(said)):
            found[xxh3_64_intdigest(said.encode())] = None
            if len(found) >= limit:
                break
    return tuple(found)


def _is_script_without_spaces(text: str) -> bool:
    """Whether most of a text is no ASCII, as in scripts that put no space between words."""
    return 2 * len(text.encode("ascii", "ignore")) < len(text)
