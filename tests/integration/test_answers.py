"""What an answer said goes through the whole pipeline, and the next turn of its client is known to repeat it."""

import asyncio

import msgspec
import pytest

from turnwise.dialects import DIALECTS, match
from turnwise.proxy.memory import MemoryClient
from turnwise.proxy.pipeline import Pipeline
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Settings
from turnwise.turns import Tail

QUESTION = {"role": "user", "content": "what is the weather in Higos"}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
FUNCTION = {"name": "weather", "description": "tells it", "parameters": PARAMETERS}
CHAT = {"model": "sim", "max_tokens": 200, "messages": [QUESTION]}
MESSAGES = CHAT
RESPONSES = {"model": "sim", "input": [QUESTION], "store": False}
BODIES = {
    "/v1/chat/completions": (
        ("messages", CHAT, lambda answer: [answer["choices"][0]["message"]]),
        {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"},
    ),
    "/v1/messages": (
        ("messages", MESSAGES, lambda answer: [{"role": "assistant", "content": answer["content"]}]),
        {"tools": [{"name": "weather", "input_schema": PARAMETERS}], "tool_choice": {"type": "any"}},
    ),
    "/v1/responses": (
        ("input", RESPONSES, lambda answer: answer["output"]),
        {"tools": [{"type": "function", **FUNCTION}], "tool_choice": "required"},
    ),
}


RESULTS = {
    "/v1/chat/completions": lambda ids: [{"role": "tool", "tool_call_id": call_id, "content": "18C"} for call_id in ids],
    "/v1/messages": lambda ids: [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": "18C"} for call_id in ids]}
    ],
    "/v1/responses": lambda ids: [{"type": "function_call_output", "call_id": call_id, "output": "18C"} for call_id in ids],
}


def words(salt):
    return " ".join(f"{salt}{number}" for number in range(100))


async def call(proxy, path, body):
    """The outcome of a call, and what its client was given."""
    pipeline = Pipeline(Settings(), proxy.fleet, proxy.upstream, proxy.recorder, proxy.clock)
    encoded, client, now = msgspec.json.encode(body), MemoryClient(), proxy.clock()
    raw = RawRequest(method="POST", target=path, headers=(), body=encoded, arrived_at=now, read_at=now, fields={})
    return await pipeline.handle(raw, match("POST", path), "request-1", client), client


@pytest.mark.parametrize("uses_tools", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_a_stream_a_whole_answer_and_the_turn_that_repeats_it_say_the_same(virtually, world, path, uses_tools):
    (member, plain, turns_of), tools = BODIES[path]
    body = {**plain, **(tools if uses_tools else {})}

    async def main():
        async with world(1) as proxy:
            streamed, _ = await call(proxy, path, {**body, "stream": True})
            whole, client = await call(proxy, path, body)
            return streamed.answer, whole.answer, client.json()

    streamed, whole, document = virtually(main())
    assert streamed == whole
    assert whole is not None
    assert bool(whole.calls) == uses_tools
    later = msgspec.json.encode({**body, member: [*body[member], *turns_of(document), QUESTION]})
    answer = DIALECTS[match("POST", path).dialect].read(later, (), splice_usage=True).prompt.answer
    assert answer.said == whole


@pytest.mark.parametrize("path", BODIES)
def test_the_tool_calls_of_an_answer_are_those_whose_results_the_next_turn_brings(virtually, world, path):
    (member, plain, turns_of), tools = BODIES[path]
    body = {**plain, **tools}

    async def main():
        async with world(1) as proxy:
            streamed, _ = await call(proxy, path, {**body, "stream": True})
            whole, client = await call(proxy, path, body)
            return streamed, whole, client.json()

    streamed, whole, document = virtually(main())
    for outcome in (streamed, whole):
        assert {made.name for made in outcome.tool_calls} == {"weather"}
        assert outcome.first_token_at <= outcome.first_tool_at <= outcome.last_byte_at
    assert whole.response_id == document["id"]
    ids = [made.id for made in whole.tool_calls]
    said = turns_of(document)
    assert all(f'"{call_id}"'.encode() in msgspec.json.encode(said) for call_id in ids)
    dialect = DIALECTS[match("POST", path).dialect]
    before = dialect.read(msgspec.json.encode(body), (), splice_usage=True).prompt
    turns = [*body[member], *said, *RESULTS[path](ids)]
    after = dialect.read(msgspec.json.encode({**body, member: turns}), (), splice_usage=True).prompt
    assert dialect.tail(after, len(before.kinds)) == Tail(tuple(ids), is_user_last=False)


@pytest.mark.parametrize("fields", [{"n": 2}, {"n": 2, "stream": True}])
def test_an_answer_of_several_choices_says_nothing(virtually, world, fields):
    async def main():
        async with world(1) as proxy:
            outcome, _ = await call(proxy, "/v1/chat/completions", {**CHAT, **fields})
            return outcome

    outcome = virtually(main())
    assert (outcome.answer, outcome.is_complete) == (None, True)


def test_what_became_of_answers_can_be_read_by_people_and_programs(virtually, world):
    async def main():
        async with world(1) as proxy:
            texts = [words("question")]
            for turn in range(4):
                turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
                _, client = await call(proxy, "/v1/chat/completions", {**CHAT, "messages": turns})
                texts += [client.json()["choices"][0]["message"]["content"], words(f"turn{turn}")]
                await asyncio.sleep(1)
            return proxy.index.stats()

    stats = virtually(main())
    shown = msgspec.json.decode(msgspec.json.encode(stats))
    assert shown["answers"] == {"plain": {"joined": 3}}
