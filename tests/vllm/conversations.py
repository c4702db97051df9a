"""Multi-turn conversations of fixed length, and what each answer said of its cached tokens."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence

import httpx
import msgspec

FIRST_TOKENS = 1200
TURN_TOKENS = 250
ANSWER_TOKENS = 16
TEMPLATE_TOKENS = 5
"""What the chat template adds around one message."""

# Each is one token of the lab's tokenizer when a space stands before it.
WORDS = (
    *("self", "return", "import", "from", "class", "None", "True", "False", "not", "for", "while", "with", "raise", "except"),
    *("value", "name", "line", "file", "path", "code", "data", "string", "list", "result", "object", "type", "error", "len"),
    *("str", "int", "args", "text", "function", "method", "key", "start", "end", "size", "test", "module", "call"),
)

Choose = Callable[[int, int], str]
"""Base URL for (session, turn): the fleet's own address, or the one address of the proxy."""


class Turn(msgspec.Struct, frozen=True):
    """One answered call: who asked, what the engine counted, when the first text came (seconds), and the response head."""

    session: int
    turn: int
    base_url: str
    prompt_tokens: int
    cached_tokens: int
    ttft_s: float
    headers: dict[str, str]


class Driver(msgspec.Struct, frozen=True):
    """Holds what all calls of one run share; `salt` makes every token of a run its own, so no run finds another's blocks."""

    client: httpx.AsyncClient
    choose: Choose
    slots: asyncio.Semaphore
    salt: str
    model: str

    async def hold_session(self, session: int, num_turns: int) -> list[Turn]:
        """Speak one conversation to its end.

        The history holds answers of fixed length in place of the engine's own: a random model's text becomes an unforeseeable
        number of tokens when it is read again.
        """
        words = random.Random(f"{self.salt}/{session}")

        def say(num_tokens: int) -> str:
            return "".join(f" {words.choice(WORDS)}" for _ in range(num_tokens))

        messages = [{"role": "user", "content": say(FIRST_TOKENS - TEMPLATE_TOKENS)}]
        spoken: list[Turn] = []
        for number in range(num_turns):
            async with self.slots:
                spoken.append(await self.call(session, number, messages))
            messages.append({"role": "assistant", "content": say(ANSWER_TOKENS)})
            messages.append({"role": "user", "content": say(TURN_TOKENS - ANSWER_TOKENS - 2 * TEMPLATE_TOKENS)})
        return spoken

    async def call(self, session: int, number: int, messages: Sequence[dict[str, str]]) -> Turn:
        """Send one streamed call; a status other than 200 and an error event raise."""
        base_url = self.choose(session, number)
        body = {
            "model": self.model,
            "messages": list(messages),
            "temperature": 0,
            "ignore_eos": True,
            "max_tokens": ANSWER_TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        clock = asyncio.get_running_loop().time
        sent, first_text_at = clock(), None
        usage: dict[str, object] = {}
        async with self.client.stream("POST", f"{base_url}/v1/chat/completions", json=body) as response:
            if response.status_code != httpx.codes.OK:
                raise AssertionError(f"{response.status_code} from {base_url}: {(await response.aread()).decode()}")
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    raise AssertionError(f"the stream broke: {line}")
                usage = event.get("usage") or usage
                for choice in event["choices"]:
                    if choice["delta"].get("content"):
                        first_text_at = first_text_at or clock()
        prompt_tokens, details = usage["prompt_tokens"], usage["prompt_tokens_details"]
        assert isinstance(prompt_tokens, int)
        assert isinstance(details, dict)
        return Turn(
            session=session,
            turn=number,
            base_url=base_url,
            prompt_tokens=prompt_tokens,
            cached_tokens=details["cached_tokens"] or 0,
            ttft_s=(first_text_at or clock()) - sent,
            headers=dict(response.headers),
        )


async def hold_conversations(
    choose: Choose, *, salt: str, model: str = "lab", num_sessions: int = 5, num_turns: int = 5, num_at_once: int = 2
) -> list[Turn]:
    """Hold all conversations, `num_at_once` calls in flight at most and turns interleaved fairly; return every turn."""
    async with httpx.AsyncClient(timeout=120.0) as client, asyncio.TaskGroup() as group:
        driver = Driver(client=client, choose=choose, slots=asyncio.Semaphore(num_at_once), salt=salt, model=model)
        sessions = [group.create_task(driver.hold_session(session, num_turns)) for session in range(num_sessions)]
        await asyncio.gather(*sessions)
    return [turn for session in sessions for turn in session.result()]


def session_affinity(urls: Sequence[str]) -> Choose:
    """Choose by session alone: each stays on one replica, the best that any router can do with fresh prompts."""
    return lambda session, _turn: urls[session % len(urls)]


def round_robin(urls: Sequence[str]) -> Choose:
    """Choose the next replica in turn for each call, whoever calls."""
    calls = iter(range(1 << 62))
    return lambda _session, _turn: urls[next(calls) % len(urls)]


def cached_fraction(turns: Sequence[Turn]) -> float:
    """Return the share of all prompt tokens that the engines found in their caches."""
    return sum(turn.cached_tokens for turn in turns) / sum(turn.prompt_tokens for turn in turns)
