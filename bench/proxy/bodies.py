"""What is sent: chat bodies of exact sizes, and agent conversations whose turns extend each other; equal seeds, equal bytes."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

MODEL = "bench"
MAGIC = b"TWB1"
NONCE = "0" * 16
NUM_TURNS = 12
FIRST_TURN_BYTES, LAST_TURN_BYTES = 545_000, 600_000
RESULT_BYTES = 4_000
"""Of one step in a long conversation, a tool call and its result: an agent reads files and test output."""
SMALL_BYTES = 8_000
"""A smaller body is a question without tools."""

SYSTEM = (
    "You are a coding agent. Work in small steps, read before you write, run the tests after each change, and say what you did."
)
WORDS = (
    "return",
    "self",
    "index",
    "block",
    "replica",
    "for",
    "in",
    "range",
    "prefix",
    "value",
    "not",
    "None",
    "cache",
    "=",
    "if",
    "(x)",
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{purpose}. Paths are relative to the root of the repository.",
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}, "text": {"type": "string"}}},
        },
    }
    for name, purpose in (("read_file", "Read a file"), ("edit_file", "Replace text in a file"), ("run", "Run a command"))
]


class Conversation(msgspec.Struct, frozen=True):
    """Bodies that extend each other: the body of turn `i` is `text[:ends[i]] + tail`.

    `nonce_at` is the offset of 16 digits in the text that the generator renews whenever it begins the conversation, 0 for none.
    """

    text: bytes
    ends: tuple[int, ...]
    tail: bytes
    nonce_at: int = 0

    def bodies(self) -> Iterator[bytes]:
        """The body of each turn."""
        return (self.text[:end] + self.tail for end in self.ends)


def single(seed: int, number: int, size: int, arguments: Mapping[str, Any] | None = None) -> list[Conversation]:
    """Distinct conversations of one body each, of exactly `size` bytes; all share a system prompt, the long ones tools too.

    `arguments` are further members of the body. Raises `ValueError` where `size` has no room for them.
    """
    return [_single(_Writer(seed, size, serial), size, arguments or {}) for serial in range(number)]


def growing(seed: int, number: int) -> list[Conversation]:
    """Agent conversations of 12 turns, the first of 545,000 bytes, the last of 600,000: tools, tool calls and their results.

    The nonce stands in the first message after what all runs through a conversation share, so each turn sent is new and
    extends a prompt that was sent before.
    """
    return [_growing(_Writer(seed, LAST_TURN_BYTES, serial)) for serial in range(number)]


def write(path: Path, conversations: Sequence[Conversation]) -> None:
    """Write the file that `load.c` reads; the layout is told there."""
    with path.open("wb") as file:
        file.write(MAGIC + struct.pack("<I", len(conversations)))
        for one in conversations:
            file.write(struct.pack("<4I", len(one.ends), one.nonce_at, len(one.text), len(one.tail)))
            file.write(struct.pack(f"<{len(one.ends)}I", *one.ends) + one.text + one.tail)
            file.write(bytes(-(len(one.text) + len(one.tail)) % 4))


class _Writer:
    """What one conversation says: slices of a pool at random places, so that no two are alike and making them costs little."""

    def __init__(self, seed: int, size: int, serial: int) -> None:
        self._rng = random.Random(f"{seed} {size} {serial}")
        self._pool = _pool(seed)
        self.serial = serial

    def plain(self, size: int) -> str:
        """Words that need no escape in JSON."""
        start = self._rng.randrange(len(self._pool) - size)
        return self._pool[start : start + size]

    def lines(self, size: int) -> str:
        """Lines of 80 characters that take exactly `size` bytes in JSON, where a line break takes two."""
        num_breaks, rest = divmod(size, 82)
        text = self.plain(80 * num_breaks + rest)
        return "\n".join([*(text[80 * line : 80 * (line + 1)] for line in range(num_breaks)), text[80 * num_breaks :]])


@cache
def _pool(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=200_000))


def _single(writer: _Writer, size: int, arguments: Mapping[str, Any]) -> Conversation:
    tail = b"]" + b"".join(b"," + _dump({name: value})[1:-1] for name, value in arguments.items()) + b"}"
    size -= len(tail)
    if size < SMALL_BYTES:
        bare = len(_opening(writer, "", {}))
        if size < bare:
            raise ValueError(f"a body of {size + len(tail)} bytes has no room for a conversation")
        text = _opening(writer, writer.plain(size - bare), {})
    else:
        text = _grown(writer, _opening(writer, writer.plain(200), {"tools": TOOLS}), size)
    return Conversation(text=text, ends=(size,), tail=tail)


def _growing(writer: _Writer) -> Conversation:
    tail = b"]}"
    turn_bytes = (LAST_TURN_BYTES - FIRST_TURN_BYTES) // (NUM_TURNS - 1)
    shared = FIRST_TURN_BYTES - turn_bytes - len(tail)
    text = _grown(writer, _opening(writer, writer.plain(200), {"tools": TOOLS}), shared)
    ends = tuple(shared + turn_bytes * turn for turn in range(1, NUM_TURNS + 1))
    nonce_at = shared + _step(writer, turn_bytes, f"Run {NONCE}").index(NONCE.encode())
    steps = (_step(writer, turn_bytes, f"Run {NONCE}" if turn == 0 else f"Turn {turn}") for turn in range(NUM_TURNS))
    return Conversation(text=text + b"".join(steps), ends=ends, tail=tail, nonce_at=nonce_at)


def _opening(writer: _Writer, task: str, members: dict[str, Any]) -> bytes:
    """A body up to and with its first two messages."""
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Conversation {writer.serial}: {task}"},
    ]
    return _dump({"model": MODEL, **members, "messages": messages}).removesuffix(b"]}")


def _grown(writer: _Writer, text: bytes, size: int) -> bytes:
    """The text and steps after it, up to exactly `size` bytes."""
    parts = [text]
    left = size - len(text)
    while left:
        step = RESULT_BYTES if left >= 2 * RESULT_BYTES else left
        parts.append(_step(writer, step, f"{left} bytes to go"))
        left -= step
    return b"".join(parts)


def _step(writer: _Writer, size: int, said: str) -> bytes:
    """An assistant's message with a tool call and the result, each after a comma, in exactly `size` bytes."""
    path = json.dumps({"path": f"src/{writer.plain(12).strip()}.py"})
    call = {"id": "call_1", "type": "function", "function": {"name": "read_file", "arguments": path}}
    asked = {"role": "assistant", "content": said, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": ""}
    room = size - len(_dump(asked)) - len(_dump(result)) - 2
    return b"," + _dump(asked) + b"," + _dump({**result, "content": writer.lines(room)})


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
