"""What the gateway is told while answers pass the whole pipeline, and that a turn is settled whatever becomes of it."""

import asyncio

import msgspec
import pytest
from tests.unit.tool_streams import CHAT, MESSAGES, RESPONSES, Ear, tools

from turnwise.dialects import match
from turnwise.engines.sim.tool_choice import HEADER_TOOL_CALLS
from turnwise.proxy.dispatch import Dispatch
from turnwise.proxy.memory import MemoryClient
from turnwise.proxy.pipeline import Pipeline
from turnwise.proxy.wire.ports import Origin, RawRequest
from turnwise.settings import Settings
from turnwise.tools_gateway.messages import Announced, Filled, Settled

QUESTION = [{"role": "user", "content": "what is the weather in Higos"}]
PATHS = [CHAT, MESSAGES, RESPONSES]
PATIENCE_S = 60.0
PROPERTIES = {"city": {"type": "string"}, "days": {"type": "integer"}, "why": {"type": "string"}}
PARAMETERS = {"type": "object", "properties": PROPERTIES, "required": list(PROPERTIES)}


def body(path, **fields):
    plain = {"input": QUESTION, "store": False} if path == RESPONSES else {"messages": QUESTION, "max_tokens": 4000}
    return {"model": "sim", **plain, "tools": tools(path, "weather", "time", "fetch", parameters=PARAMETERS), **fields}


def call(proxy, path, given, client, ear=None, *, num_calls=2):
    """A call through a pipeline of its own."""
    dispatch = None if ear is None else Dispatch(ear, lambda _: None)
    pipeline = Pipeline(Settings(), proxy.fleet, proxy.upstream, proxy.recorder, proxy.clock, dispatch)
    now, fields = proxy.clock(), {HEADER_TOOL_CALLS.encode(): b"%d" % num_calls}
    headers = tuple(fields.items())
    raw = RawRequest("POST", path, headers, msgspec.json.encode(given), arrived_at=now, read_at=now, fields=fields)
    return pipeline.handle(raw, match("POST", path), "request-1", client)


def written(path, document):
    """Names and arguments of the calls in an answer in one piece."""
    if path == CHAT:
        functions = [call["function"] for call in document["choices"][0]["message"]["tool_calls"]]
        return [(function["name"], msgspec.json.decode(function["arguments"])) for function in functions]
    if path == MESSAGES:
        return [(block["name"], block["input"]) for block in document["content"] if block["type"] == "tool_use"]
    items = [item for item in document["output"] if item["type"] == "function_call"]
    return [(item["name"], msgspec.json.decode(item["arguments"])) for item in items]


def told(ear):
    filled = {message.index: msgspec.json.decode(message.arguments) for message in ear.of(Filled)}
    return [(message.tool, filled[message.index]) for message in ear.of(Announced)]


@pytest.mark.parametrize("path", PATHS)
def test_calls_are_told_as_they_are_written_and_the_bytes_and_facts_are_the_same(virtually, world, path):
    async def main():
        async with world(1) as proxy:
            ears, clients, outcomes = [Ear(), Ear(), None], [MemoryClient() for _ in range(3)], []
            given = [body(path, stream=True), body(path), body(path, stream=True)]
            for ear, client, asked in zip(ears, clients, given, strict=True):
                outcomes.append(await call(proxy, path, asked, client, ear))
            return ears, clients, outcomes

    (stream, whole, _), clients, outcomes = virtually(main())
    assert len(told(whole)) == 2
    assert told(stream) == told(whole) == written(path, clients[1].json())
    assert (stream.end, whole.end) == ("clean", "clean")
    assert [message.turn for message in stream.told] == [outcomes[0].call_id] * 5
    first, last = stream.of(Announced)[0], stream.of(Filled)[0]
    assert outcomes[0].first_byte_at < first.at < last.at < stream.of(Settled)[0].at
    assert outcomes[0].tool_calls[0].name == first.tool
    assert len(clients[0].body) == len(clients[2].body)
    assert outcomes[0].answer == outcomes[2].answer


def engine(proxy, number=0):
    return proxy.upstream.engines[Origin.of(f"http://sim:{9000 + number}")]


class Leaving(MemoryClient):
    """Leaves with a piece of arguments in hand."""

    def write(self, data):
        super().write(data)
        if b"arguments" in self.body and self.body.count(b"data:") > 8:
            self.leave()


def test_a_client_that_leaves_voids_its_turn(virtually, world):
    async def main():
        async with world(1) as proxy:
            ear = Ear()
            await call(proxy, CHAT, body(CHAT, stream=True), Leaving(), ear)
            return ear

    assert virtually(main()).end == "client_gone"


def test_a_replica_that_breaks_voids_its_turn(virtually, world):
    async def main():
        async with world(1) as proxy:
            ear = Ear()
            running = asyncio.create_task(call(proxy, CHAT, body(CHAT, stream=True), MemoryClient(), ear, num_calls=16))
            while not ear.of(Filled):  # noqa: ASYNC110 - on a virtual clock, looking again costs nothing
                await asyncio.sleep(0.01)
            await engine(proxy).restart()
            await asyncio.wait_for(running, PATIENCE_S)
            return ear

    assert virtually(main()).end == "broken"


def test_a_call_that_is_cancelled_voids_its_turn(virtually, world):
    async def main():
        async with world(1) as proxy:
            ear = Ear()
            running = asyncio.create_task(call(proxy, CHAT, body(CHAT, stream=True), MemoryClient(), ear, num_calls=16))
            while not ear.of(Announced):  # noqa: ASYNC110 - on a virtual clock, looking again costs nothing
                await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            return ear

    assert virtually(main()).end == "broken"


def test_an_attempt_that_had_not_begun_tells_nothing_and_the_next_one_tells_all(virtually, world):
    async def main():
        async with world(2) as proxy:
            ear = Ear()
            running = asyncio.create_task(call(proxy, CHAT, body(CHAT), MemoryClient(), ear))
            while not (busy := [number for number in (0, 1) if engine(proxy, number).core.scheduler.has_work]):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)
            await engine(proxy, busy[0]).restart()
            outcome = await asyncio.wait_for(running, PATIENCE_S)
            return ear, outcome

    ear, outcome = virtually(main())
    assert outcome.attempt == 2
    assert (len(ear.announced), ear.end) == (2, "clean")


@pytest.mark.parametrize("given", [{"tools": []}, {"max_tokens": 3}])
def test_where_no_call_was_announced_nothing_is_told(virtually, world, given):
    async def main():
        async with world(1) as proxy:
            ear = Ear()
            await call(proxy, CHAT, body(CHAT, stream=True, **given), MemoryClient(), ear, num_calls=0)
            return ear

    assert virtually(main()).told == []


def test_a_turn_cut_by_its_limit_of_tokens_is_void(virtually, world):
    async def main():
        async with world(1) as proxy:
            ends = []
            for limit in range(5, 200, 10):
                ear = Ear()
                outcome = await call(proxy, CHAT, body(CHAT, stream=True, max_tokens=limit), MemoryClient(), ear, num_calls=3)
                if ear.told:
                    ends.append((ear.end, outcome.usage.completion_tokens >= limit))
            return ends

    assert set(virtually(main())) == {("length", True), ("clean", False)}
