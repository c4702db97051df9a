"""What is counted: each scene plays units of work over and over, and gives the counts of one unit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from bench.smoke import telling
from bench.smoke.count import COUNTERS, Calls, Memory
from bench.smoke.indexing import Agent
from bench.smoke.stage import Stage, play, rest, staged
from bench.smoke.wire import MODEL

NUM_CONNECTIONS = 8
CHAT_BYTES = 1_000
WARM_CHATS, NUM_CHATS = 400, 400
"""Requests before counting begins, and those counted: more do not change a figure by one in a hundred."""
TURN_BYTES = 4_000
"""What a turn adds to a conversation: an answer and the result of a tool."""
FIRST_TURNS = 148
"""Turns that make a conversation of about 600 KB."""
WARM_TURNS, NUM_TURNS = 6, 12
SHORT_EVENTS, LONG_EVENTS = 20, 220
"""Events of two streams; what the longer one costs more is the cost of its events."""
WARM_STREAMS, NUM_STREAMS = 10, 8
WARM_INDEX_TURNS, NUM_INDEX_TURNS = 10, 40


class Result(msgspec.Struct, frozen=True):
    """The counts of one unit of work, and its calls by function."""

    counts: Mapping[str, float]
    functions: Mapping[str, float]


class Tally:
    """What was counted in all."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    async def over_sockets(self, stage: Stage, memory: Memory, requests: Sequence[bytes]) -> None:
        """Count the product's work on two equal halves: calls on the first, memory on the second.

        What the product puts off belongs to the requests that it is put off for, and none of what came before them is left. The
        clients' and the replicas' own memory and reads are what the same requests cost without the product between them; they
        are taken off. Their calls are never counted.
        """
        half = len(requests) // 2
        await rest()
        with Calls() as calls:
            await play(stage.proxied, requests[:half])
            await rest()
        with memory:
            await play(stage.proxied, requests[half:])
            await rest()
        self._add(calls, memory)
        with memory:
            await play(stage.direct, requests[half:])
            await rest()
        self.counts.subtract(memory.counts())

    def alone(self, memory: Memory, turn: Callable[[], None], number: int) -> None:
        """Count what is a plain function, `number` times each."""
        with Calls() as calls:
            for _ in range(number):
                turn()
        with memory:
            for _ in range(number):
                turn()
        self._add(calls, memory)

    def over(self, number: int, less: Tally | None = None) -> Result:
        """What one of `number` units costs, after `less` is taken off."""
        counts, functions = self.counts.copy(), self.functions.copy()
        if less is not None:
            counts.subtract(less.counts)
            functions.subtract(less.functions)
        # Where the product does nothing of a kind, the two ends alone may have done a little more of it.
        each = {name: max(0.0, round(counts[name] / number, 1)) for name in COUNTERS}
        return Result(each, {name: round(count / number, 1) for name, count in functions.items()})

    def _add(self, calls: Calls, memory: Memory) -> None:
        self.counts.update(calls.counts())
        self.counts.update(memory.counts())
        self.functions.update(calls.functions())


async def chat(memory: Memory) -> Result:
    """One chat call of 1 KB: eight connections, two replicas, placed by KV."""
    requests = [_http(_small(serial)) for serial in range(WARM_CHATS + 2 * NUM_CHATS)]
    tally = Tally()
    async with staged(NUM_CONNECTIONS) as stage:
        await play(stage.direct, requests[:WARM_CHATS])
        await play(stage.proxied, requests[:WARM_CHATS])
        await tally.over_sockets(stage, memory, requests[WARM_CHATS:])
    return tally.over(NUM_CHATS)


async def conversation(memory: Memory) -> Result:
    """The next turn of a conversation of 600 KB, on one connection."""
    turns = list(map(_http, islice(_turns(), FIRST_TURNS, FIRST_TURNS + WARM_TURNS + 2 * NUM_TURNS)))
    tally = Tally()
    async with staged(1) as stage:
        await play(stage.direct, turns[:WARM_TURNS])
        await play(stage.proxied, turns[:WARM_TURNS])
        await tally.over_sockets(stage, memory, turns[WARM_TURNS:])
    return tally.over(NUM_TURNS)


async def stream(memory: Memory) -> Result:
    """One event of a stream, relayed alone; usage is asked of the replica and kept from the client, who did not ask."""
    requests = [_http({**_small(serial), "stream": True}) for serial in range(WARM_STREAMS + 4 * NUM_STREAMS)]
    short, long = Tally(), Tally()
    async with staged(1) as stage:
        stage.stream.num_events = LONG_EVENTS
        await play(stage.direct, requests[:WARM_STREAMS])
        await play(stage.proxied, requests[:WARM_STREAMS])
        for tally, stage.stream.num_events in ((short, SHORT_EVENTS), (long, LONG_EVENTS)):
            begin = WARM_STREAMS if tally is short else WARM_STREAMS + 2 * NUM_STREAMS
            await tally.over_sockets(stage, memory, requests[begin : begin + 2 * NUM_STREAMS])
    return long.over(NUM_STREAMS * (LONG_EVENTS - SHORT_EVENTS), less=short)


async def tool_call(memory: Memory) -> Result:
    """One stream of twenty events that writes a tool call, of which a tools gateway is told."""
    offering = {"stream": True, "tools": telling.TOOLS}
    requests = [_http({**_small(serial), **offering}) for serial in range(WARM_STREAMS + 2 * NUM_STREAMS)]
    tally = Tally()
    async with telling.listening() as socket, staged(1, telling.tool_call(), socket) as stage:
        stage.stream.num_events = SHORT_EVENTS
        await play(stage.direct, requests[:WARM_STREAMS])
        await play(stage.proxied, requests[:WARM_STREAMS])
        await tally.over_sockets(stage, memory, requests[WARM_STREAMS:])
    return tally.over(NUM_STREAMS)


async def index(memory: Memory) -> Result:
    """One turn of a long conversation in the index alone, over 64 replicas: residency, book, events, settle."""
    agent = Agent(num_turns=WARM_INDEX_TURNS + 2 * NUM_INDEX_TURNS)
    for _ in range(WARM_INDEX_TURNS):
        agent.turn()
    tally = Tally()
    tally.alone(memory, agent.turn, NUM_INDEX_TURNS)
    return tally.over(NUM_INDEX_TURNS)


SCENES: Mapping[str, Callable[[Memory], Awaitable[Result]]] = {
    "chat": chat,
    "conversation": conversation,
    "stream": stream,
    "tool_call": tool_call,
    "index": index,
}


def _small(serial: int) -> dict[str, Any]:
    question = f"Question {serial:06}: "
    messages = [_message("system", "You answer briefly."), _message("user", question + "x" * (CHAT_BYTES - 150))]
    return {"model": MODEL, "messages": messages, "max_tokens": 64}


def _turns() -> Iterator[dict[str, Any]]:
    """The bodies of a conversation, each longer than the one before by a turn."""
    messages = [_message("system", "You are a coding agent."), _message("user", "Make the tests pass.")]
    for serial in range(10**6):
        yield {"model": MODEL, "messages": messages, "max_tokens": 64}
        step = f"Step {serial:06}: "
        half = TURN_BYTES // 2
        messages = [*messages, _message("assistant", step + "a" * half), _message("user", step + "line\n" * (half // 6))]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _http(body: Mapping[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n"
        "accept-encoding: gzip, deflate\r\nuser-agent: bench-smoke\r\nauthorization: Bearer none\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data
