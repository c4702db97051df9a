"""Multi-turn conversations of fixed length, and what each answer said of its cached tokens."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence

import httpx
import msgspec

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


class Shape(msgspec.Struct, frozen=True):
    """How long conversations are, in tokens, and how many system prompts they share, none if 0."""

    first_tokens: int = 1200
    turn_tokens: int = 250
    num_systems: int = 0
    system_tokens: int = 0


PLAIN = Shape()


class Turn(msgspec.Struct, frozen=True):
    """One answered call: who asked, what the engine counted, when the first text came (seconds), and the response head."""

    session: int
    turn: int
    base_url: str
    prompt_tokens: int
    cached_tokens: int
    ttft_s: float
    headers: dict[str, str]


class Interlude(msgspec.Struct, frozen=True):
    """Something that happens once `after_calls` calls were answered, while none is in flight.

    `calls_alone` calls follow it one at a time.
    """

    after_calls: int
    act: Callable[[], Awaitable[None]]
    calls_alone: int = 0


class Driver(msgspec.Struct, frozen=True):
    """Holds what all calls of one run share; `salt` makes every token of a run its own, so no run finds another's blocks."""

    client: httpx.AsyncClient
    choose: Choose
    slots: asyncio.Semaphore
    live: asyncio.Semaphore
    answered: asyncio.Queue[Turn]
    salt: str
    model: str
    shape: Shape

    async def hold_session(self, session: int, num_turns: int) -> list[Turn]:
        """Speak one conversation to its end, once it may live."""
        async with self.live:
            return await self.speak(session, num_turns)

    async def speak(self, session: int, num_turns: int) -> list[Turn]:
        """Speak one conversation to its end.

        The history holds answers of fixed length in place of the engine's own: a random model's text becomes an unforeseeable
        number of tokens when it is read again.
        """
        shape, words = self.shape, random.Random(f"{self.salt}/{session}")
        messages = []
        if shape.num_systems:
            system = random.Random(f"{self.salt}/system/{session % shape.num_systems}")
            messages.append({"role": "system", "content": say(system, shape.system_tokens - TEMPLATE_TOKENS)})
        messages.append({"role": "user", "content": say(words, shape.first_tokens - TEMPLATE_TOKENS)})
        spoken: list[Turn] = []
        for number in range(num_turns):
            async with self.slots:
                spoken.append(await self.call(session, number, messages))
                self.answered.put_nowait(spoken[-1])
            messages.append({"role": "assistant", "content": say(words, ANSWER_TOKENS)})
            messages.append({"role": "user", "content": say(words, shape.turn_tokens - ANSWER_TOKENS - 2 * TEMPLATE_TOKENS)})
        return spoken

    async def interrupt(self, interludes: Sequence[Interlude], num_at_once: int) -> None:
        """Wait for each interlude's time, take all the slots, and let it happen."""
        num_answered = 0

        async def answered_calls(count: int) -> None:
            nonlocal num_answered
            while num_answered < count:
                await self.answered.get()
                num_answered += 1

        for interlude in interludes:
            await answered_calls(interlude.after_calls)
            await asyncio.gather(*(self.slots.acquire() for _ in range(num_at_once)))
            await interlude.act()
            await answered_calls(num_answered + self.answered.qsize())
            if interlude.calls_alone:
                self.slots.release()
                await answered_calls(num_answered + interlude.calls_alone)
                await self.slots.acquire()
            for _ in range(num_at_once):
                self.slots.release()

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


def say(words: random.Random, num_tokens: int) -> str:
    """Speak so many tokens."""
    return "".join(f" {words.choice(WORDS)}" for _ in range(num_tokens))


async def hold_conversations(
    choose: Choose,
    *,
    salt: str,
    model: str = "lab",
    num_sessions: int = 5,
    num_turns: int = 5,
    num_at_once: int = 2,
    num_live: int | None = None,
    shape: Shape = PLAIN,
    interludes: Sequence[Interlude] = (),
) -> list[Turn]:
    """Hold all conversations and return every turn.

    At most `num_at_once` calls are in flight and `num_live` conversations unfinished (all, if None), and turns are interleaved
    fairly. An interlude that lies after the last call does not happen.
    """
    slots, live = asyncio.Semaphore(num_at_once), asyncio.Semaphore(num_live or num_sessions)
    async with httpx.AsyncClient(timeout=600.0) as client, asyncio.TaskGroup() as group:
        driver = Driver(
            client=client, choose=choose, slots=slots, live=live, answered=asyncio.Queue(), salt=salt, model=model, shape=shape
        )
        interruption = group.create_task(driver.interrupt(interludes, num_at_once))
        sessions = [group.create_task(driver.hold_session(session, num_turns)) for session in range(num_sessions)]
        await asyncio.gather(*sessions)
        interruption.cancel()
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
