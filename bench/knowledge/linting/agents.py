"""Conversations of agents, made from a seed, as their clients send them over three APIs."""

from __future__ import annotations

import copy
import json
import random
import string
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from turnwise.dialects import match
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits
from turnwise.types import Request

Json = dict[str, Any]
Step = tuple[Any, ...]
Tool = tuple[str, str, Json]
"""Name, description, and schema of its arguments."""

PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
TEXT = (
    "the build fails when parser reads an empty line so check whether config holds retries before you change session handling "
    "cache größe naïve übrig 東京 tests passed without warnings module import path function returns value error stack trace"
)
WORDS = TEXT.split()
VERBS = (
    "read",
    "write",
    "list",
    "search",
    "run",
    "edit",
    "fetch",
    "plan",
    "ask",
    "move",
    "copy",
    "test",
    "lint",
    "format",
    "open",
)
NOUNS = ("file", "folder", "shell", "web", "issue", "branch", "notebook", "symbol", "table", "log", "image", "page")
START = datetime(2026, 11, 21, 12, 27, 33, 517000, tzinfo=UTC)


def prose(rng: random.Random, low: int, high: int) -> str:
    """A sentence of so many words."""
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high))).capitalize() + "."


def token(rng: random.Random, alphabet: str, length: int) -> str:
    """So many letters of an alphabet."""
    return "".join(rng.choices(alphabet, k=length))


def new_uuid(rng: random.Random) -> str:
    """A UUID."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def new_tool(rng: random.Random, name: str) -> Tool:
    """A tool with a few arguments."""
    properties = {
        field: {"type": rng.choice(["string", "integer", "boolean"]), "description": prose(rng, 4, 12)}
        for field in rng.sample(["path", "pattern", "limit", "offset", "recursive", "query", "timeout"], rng.randint(2, 4))
    }
    return name, prose(rng, 10, 60), {"type": "object", "properties": properties, "required": sorted(properties)[:2]}


Change = Callable[["Agent"], bytes | None]
"""Changes an agent before a request is written; returns the body where it writes that itself."""


class Agent:
    """A conversation with all of its turns; `bodies` are the requests that its client sends, one for each answer of the model.

    `steps` are the turns: ("user", text), ("call", id, name, arguments, text, thought), ("result", id, text),
    ("say", text, thought).
    """

    def __init__(self, rng: random.Random, api: str | None = None) -> None:
        self.rng = rng
        self.api = api or rng.choice(list(PATHS))
        self.model = rng.choice(["qwen3-coder-480b", "gpt-oss-120b", "glm-5"])
        self.separators = rng.choice([(",", ":"), (", ", ": ")])
        self.session = new_uuid(rng) if rng.random() < 0.5 else None
        self.thinks = rng.random() < 0.7
        self.extra: Json = {}
        self.call = self.breaks_at = 0
        names = rng.sample([f"{verb}_{noun}" for verb in VERBS for noun in NOUNS], rng.randint(3, 14))
        self.tools = [new_tool(rng, name) for name in names]
        self.system = [
            "You are a careful coding agent. Keep answers short.",
            f"Release 2.1.{rng.randint(10, 300)} of 2026-10-0{rng.randint(1, 9)}, build {token(rng, '0123456789abcdef', 12)}.",
            f"Working directory: /home/user/{rng.choice(NOUNS)}-{rng.randint(1, 99)}",
            *(prose(rng, 20, 120) for _ in range(rng.randint(3, 12))),
        ]
        self.steps: list[Step] = []
        self.ends: list[int] = []
        """Number of steps that each request carries."""
        self._talk(rng.randint(10, 30))

    def _talk(self, num_turns: int) -> None:
        rng = self.rng
        self.steps.append(("user", f"Task {new_uuid(rng)[:8]}: {prose(rng, 10, 80)}"))
        while len(self.steps) < num_turns:
            self.ends.append(len(self.steps))
            call = "call_" + token(rng, string.ascii_letters + string.digits, 24)
            arguments = {"path": f"/src/{rng.choice(NOUNS)}.py", "limit": rng.randint(1, 999), "note": prose(rng, 2, 6)}
            thought = prose(rng, 20, 90) if self.thinks else None
            self.steps.append(("call", call, rng.choice(self.tools)[0], arguments, prose(rng, 6, 30), thought))
            took = f"took {rng.random():.3f}s at {(START + timedelta(seconds=rng.randint(0, 9999))).isoformat()}"
            self.steps.append(("result", call, f"{prose(rng, 10, 300)}  \n{took} trace {new_uuid(rng)}\n"))
            if rng.random() < 0.25:
                self.ends.append(len(self.steps))
                self.steps.append(("say", prose(rng, 20, 60), prose(rng, 20, 40) if self.thinks else None))
                self.steps.append(("user", prose(rng, 8, 40)))
        self.ends.append(len(self.steps))

    @property
    def is_breaking(self) -> bool:
        """Whether the prefix is to break at this call, or has broken before."""
        return self.call >= self.breaks_at

    def bodies(self, instability: Change | None = None, at: int = 0) -> Iterator[bytes]:
        """The bodies of all calls; `instability` changes the agent before each is written, and breaks from call `at` on."""
        for call, end in enumerate(self.ends):
            agent = copy.copy(self)
            agent.tools, agent.system, agent.extra = copy.deepcopy(self.tools), list(self.system), dict(self.extra)
            agent.steps = list(self.steps[:end])
            agent.call, agent.breaks_at = call, at
            body = None if instability is None else instability(agent)
            yield agent.written(agent.body()) if body is None else body

    def written(self, body: Json, **options: Any) -> bytes:
        """The JSON of a body as this client writes it."""
        return json.dumps(body, **{"separators": self.separators, "ensure_ascii": False, **options}).encode()

    def body(self) -> Json:
        """The request that it sends now, in its API."""
        if self.api == "chat":
            return self._chat()
        return self._messages() if self.api == "messages" else self._responses()

    def _chat(self) -> Json:
        messages = [{"role": "system", "content": "\n".join(self.system)}]
        for step in self.steps:
            match step:
                case ("user", text):
                    messages.append({"role": "user", "content": text})
                case ("call", call, name, arguments, text, thought):
                    function = {"name": name, "arguments": as_text(arguments)}
                    turn = {"role": "assistant", "content": text}
                    turn |= {"reasoning_content": thought} if thought else {}
                    messages.append(turn | {"tool_calls": [{"id": call, "type": "function", "function": function}]})
                case ("say", text, thought):
                    turn = {"role": "assistant", "content": text}
                    messages.append(turn | ({"reasoning_content": thought} if thought else {}))
                case ("result", call, text):
                    messages.append({"role": "tool", "tool_call_id": call, "content": text})
        tools = [
            {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}
            for name, about, schema in self.tools
        ]
        return {"model": self.model, "messages": messages, "tools": tools, "stream": True, **self.extra}

    def _messages(self) -> Json:
        messages = []
        for step in self.steps:
            match step:
                case ("user", text):
                    messages.append({"role": "user", "content": text})
                case ("call", call, name, arguments, text, thought):
                    blocks = [{"type": "thinking", "thinking": thought, "signature": call[::-1]}] if thought else []
                    blocks.append({"type": "text", "text": text})
                    given = arguments if isinstance(arguments, dict) else json.loads(arguments)
                    blocks.append({"type": "tool_use", "id": call, "name": name, "input": given})
                    messages.append({"role": "assistant", "content": blocks})
                case ("say", text, thought):
                    blocks = [{"type": "thinking", "thinking": thought, "signature": "c2ln"}] if thought else []
                    messages.append({"role": "assistant", "content": [*blocks, {"type": "text", "text": text}]})
                case ("result", call, text):
                    block = {"type": "tool_result", "tool_use_id": call, "content": text}
                    messages.append({"role": "user", "content": [block]})
        tools = [{"name": name, "description": about, "input_schema": schema} for name, about, schema in self.tools]
        system = [{"type": "text", "text": "\n".join(self.system)}]
        return {"model": self.model, "max_tokens": 8192, "system": system, "tools": tools, "messages": messages, **self.extra}

    def _responses(self) -> Json:
        items = []
        for step in self.steps:
            match step:
                case ("user", text):
                    items.append({"role": "user", "content": [{"type": "input_text", "text": text}]})
                case ("call", call, name, arguments, text, thought):
                    if thought:
                        summary = [{"type": "summary_text", "text": thought}]
                        items.append({"type": "reasoning", "id": f"rs_{call}", "summary": summary})
                    items.append({"role": "assistant", "content": [{"type": "output_text", "text": text}]})
                    items.append({"type": "function_call", "call_id": call, "name": name, "arguments": as_text(arguments)})
                case ("say", text, thought):
                    if thought:
                        items.append(
                            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": thought}]}
                        )
                    items.append({"role": "assistant", "content": [{"type": "output_text", "text": text}]})
                case ("result", call, text):
                    items.append({"type": "function_call_output", "call_id": call, "output": text})
        tools = [
            {"type": "function", "name": name, "description": about, "parameters": schema} for name, about, schema in self.tools
        ]
        return {"model": self.model, "instructions": "\n".join(self.system), "input": items, "tools": tools, **self.extra}


def as_text(arguments: str | Json) -> str:
    """Arguments of a call as chat and responses send them."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def request_of(agent: Agent, body: bytes, number: int = 0) -> Request:
    """A body as the proxy reads it."""
    fields = {} if agent.session is None else {b"x-session-id": agent.session.encode()}
    path = PATHS[agent.api]
    raw = RawRequest("POST", path, tuple(fields.items()), body, 0.0, 0.0, fields)
    return Reader(Edits(include_usage=False)).read(raw, match("POST", path), str(number))
