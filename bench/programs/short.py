"""Short conversations of agents: a task, and tool calls with their results, in bodies of about a kilobyte."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from bench.proxy.bodies import MODEL, NONCE, SYSTEM, WORDS, Conversation

TOOL = {
    "type": "function",
    "function": {"name": "read_file", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}},
}


def conversations(seed: int, number: int, num_turns: int, arguments: Mapping[str, Any] | None = None) -> list[Conversation]:
    """Conversations of so many calls, whose bodies take 1,000 bytes on average; equal seeds, equal bytes.

    Each begins with a nonce that the generator renews, so that whoever takes it up opens a program; each call but the
    first brings the result of a tool. `arguments` are further members of the body. Raises `ValueError`
    where so many turns have no room.
    """
    return [_conversation(random.Random(f"{seed} {serial}"), serial, num_turns, arguments or {}) for serial in range(number)]


def _conversation(rng: random.Random, serial: int, num_turns: int, arguments: Mapping[str, Any]) -> Conversation:
    tail = b"]" + b"".join(b"," + _dump({name: value})[1:-1] for name, value in arguments.items()) + b"}"
    steps = [_step(rng, turn) for turn in range(1, num_turns)]
    sizes = [sum(map(len, steps[:turn])) for turn in range(num_turns)]
    task_bytes = 1_000 - len(tail) - sum(sizes) // num_turns - len(_opening(serial, ""))
    if task_bytes < 0:
        raise ValueError(f"{num_turns} turns do not fit into bodies of 1,000 bytes")
    opening = _opening(serial, _words(rng, task_bytes))
    text = opening + b"".join(steps)
    return Conversation(
        text=text,
        ends=tuple(len(opening) + size for size in sizes),
        tail=tail,
        nonce_at=opening.index(NONCE.encode()),
    )


def _opening(serial: int, task: str) -> bytes:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"Task {NONCE} {serial:06}: {task}"}]
    return _dump({"model": MODEL, "tools": [TOOL], "messages": messages}).removesuffix(b"]}")


def _step(rng: random.Random, turn: int) -> bytes:
    call_id = f"call_{turn}"
    call = {"id": call_id, "type": "function", "function": {"name": "read_file", "arguments": '{"path": "a.py"}'}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    return b"," + _dump(asked) + b"," + _dump({"role": "tool", "tool_call_id": call_id, "content": _words(rng, 40)})


def _words(rng: random.Random, size: int) -> str:
    return " ".join(rng.choices(WORDS, k=size))[:size]


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
