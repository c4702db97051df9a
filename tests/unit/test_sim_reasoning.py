"""Answers that begin with reasoning, in all three chat APIs, whole and streamed."""

import json
from contextlib import aclosing

import pytest
from tests.unit import sim_engine
from tests.unit.sim_engine import TOOL

PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


def on_engine(scenario, **options):
    return sim_engine.on_engine(scenario, **{"reasoning_share": 1.0, **options})


async def post(engine, path, body, headers=()):
    answer = await engine.handle("POST", path, dict(headers), json.dumps(body).encode())
    assert answer.status == 200, answer.body
    if isinstance(answer.body, bytes):
        return json.loads(answer.body)
    async with aclosing(answer.body) as chunks:
        lines = [line for chunk in [chunk async for chunk in chunks] for line in chunk.decode().splitlines()]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def body(path, text="why is it so?", **fields):
    if path == "/v1/responses":
        return {"model": "sim", "input": text, **fields}
    return {"model": "sim", "messages": [{"role": "user", "content": text}], "max_tokens": 300, **fields}


def of_whole(path, answer):
    """Reasoning and text of an answer."""
    if path == "/v1/chat/completions":
        message = answer["choices"][0]["message"]
        return message.get("reasoning", ""), message["content"] or ""
    if path == "/v1/messages":
        parts = {part["type"]: part for part in answer["content"]}
        return parts.get("thinking", {}).get("thinking", ""), parts.get("text", {}).get("text", "")
    items = {item["type"]: item["content"][0]["text"] for item in answer["output"]}
    return items.get("reasoning", ""), items.get("message", "")


def of_stream(path, events):
    if path == "/v1/chat/completions":
        deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
        return "".join(delta.get("reasoning", "") for delta in deltas), "".join(delta.get("content", "") for delta in deltas)
    if path == "/v1/messages":
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        return "".join(delta.get("thinking", "") for delta in deltas), "".join(delta.get("text", "") for delta in deltas)
    kinds = ("response.reasoning_text.delta", "response.output_text.delta")
    return tuple("".join(event["delta"] for event in events if event["type"] == kind) for kind in kinds)


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_tells_the_reasoning_and_text_of_the_whole_answer(path):
    async def scenario(engine):
        whole = await post(engine, path, body(path))
        return whole, await post(engine, path, body(path, stream=True))

    whole, events = on_engine(scenario)
    reasoning, text = of_whole(path, whole)
    assert reasoning
    assert text
    assert of_stream(path, events) == (reasoning, text)


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_reasons_unless_that_is_chosen(path):
    async def scenario(engine):
        return await post(engine, path, body(path))

    assert of_whole(path, on_engine(scenario, reasoning_share=0.0))[0] == ""


def test_a_share_of_answers_reasons_and_the_seed_says_which():
    async def scenario(engine):
        answers = [await post(engine, PATHS[0], body(PATHS[0], f"question {number}")) for number in range(60)]
        return [bool(of_whole(PATHS[0], answer)[0]) for answer in answers]

    chosen = on_engine(scenario, reasoning_share=0.5, seed=1)
    assert 15 < sum(chosen) < 45
    assert chosen == on_engine(scenario, reasoning_share=0.5, seed=1)
    assert chosen != on_engine(scenario, reasoning_share=0.5, seed=2)


def test_reasoning_comes_before_tool_calls():
    async def scenario(engine):
        headers = {"x-sim-tool-calls": "2"}
        return await post(engine, PATHS[0], body(PATHS[0], tools=[TOOL]), headers)

    message = on_engine(scenario)["choices"][0]["message"]
    assert message["reasoning"]
    assert (message["content"], len(message["tool_calls"])) == (None, 2)


def test_a_thinking_block_ends_with_its_signature():
    async def scenario(engine):
        return await post(engine, PATHS[1], body(PATHS[1], stream=True))

    events = on_engine(scenario)
    kinds = [event.get("delta", event.get("content_block", event)).get("type", event["type"]) for event in events]
    assert kinds.index("thinking") < kinds.index("signature_delta") < kinds.index("text")
    assert kinds[kinds.index("signature_delta") + 1] == "content_block_stop"


@pytest.mark.parametrize("path", PATHS[:1])
def test_an_answer_with_reasoning_sent_back_is_found_in_the_cache(path):
    async def scenario(engine):
        first = await post(engine, path, body(path, "why? " * 100, tool_choice="none"))
        message = first["choices"][0]["message"]
        history = [{"role": "user", "content": "why? " * 100}, {"role": "assistant", **message, "tool_calls": None}]
        later = {"model": "sim", "messages": [*history, {"role": "user", "content": "and?"}], "max_tokens": 5}
        return first["usage"], (await post(engine, path, later))["usage"]

    first, later = on_engine(scenario)
    # All but the block of the last tokens, where a full stop may be joined to the mark that follows it.
    assert later["prompt_tokens_details"]["cached_tokens"] >= first["total_tokens"] - 32


def test_a_response_that_is_continued_remembers_its_reasoning():
    async def scenario(engine):
        first = await post(engine, PATHS[2], body(PATHS[2], "why? " * 100))
        later = await post(engine, PATHS[2], body(PATHS[2], "and?", previous_response_id=first["id"], max_output_tokens=5))
        return first["usage"], later["usage"]

    first, later = on_engine(scenario)
    assert later["input_tokens_details"]["cached_tokens"] >= first["total_tokens"] - 32
