import asyncio
import json

import pytest
from tests.unit.sim_engine import on_engine, post, read_named

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}, "n": {"type": "integer"}}, "required": ["q"]}
TOOL = {"name": "grep", "description": "find text", "input_schema": SCHEMA}
USER = [{"role": "user", "content": "find the bug " * 30}]


async def message(engine, messages=USER, headers=None, **fields):
    body = {"model": "sim", "max_tokens": 400, "messages": messages, **fields}
    status, answer = await post(engine, "/v1/messages", body, **(headers or {}))
    return status, read_named(answer)


def blocks(events):
    """The content that a stream builds up, checked for order on the way."""
    built, is_open = [], False
    for value in events:
        match value["type"]:
            case "content_block_start":
                assert not is_open
                assert value["index"] == len(built)
                built.append({**value["content_block"], "partial": ""})
                is_open = True
            case "content_block_delta":
                assert is_open
                delta = value["delta"]
                built[-1]["text" if delta["type"] == "text_delta" else "partial"] += delta.get(
                    "text", delta.get("partial_json")
                )
            case "content_block_stop":
                assert is_open
                is_open = False
    assert not is_open
    for block in built:
        partial = block.pop("partial")
        if block["type"] == "tool_use":
            block["input"] = json.loads(partial)
    return built


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_stream_builds_what_the_whole_answer_holds(count):
    async def scenario(engine):
        headers = {"x_sim_tool_calls": str(count)}
        _status, whole = await message(engine, tools=[TOOL], headers=headers)
        _status, events = await message(engine, tools=[TOOL], headers=headers, stream=True)
        return whole, events

    whole, events = on_engine(scenario)
    built = blocks(events)
    assert [block["type"] for block in whole["content"]] == ["tool_use"] * count or ["text"]
    ids = [[block.pop("id", None) for block in content] for content in (whole["content"], built)]
    assert built == whole["content"]
    assert all(len(set(named)) == len(named) for named in ids)
    assert [events[0]["type"], events[-2]["type"], events[-1]["type"]] == ["message_start", "message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == whole["stop_reason"] == ("tool_use" if count else "end_turn")


def test_input_tokens_leave_out_what_was_read_from_the_cache_or_written_to_it():
    async def scenario(engine):
        _status, counted = await post(engine, "/v1/messages/count_tokens", {"model": "sim", "messages": USER})
        return counted["input_tokens"], [(await message(engine))[1]["usage"] for _ in range(2)]

    total, (cold, warm) = on_engine(scenario)
    assert total % 16
    for usage in (cold, warm):
        cache = usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
        assert (usage["input_tokens"], cache) == (total % 16, total - total % 16)
    assert (cold["cache_read_input_tokens"], warm["cache_read_input_tokens"]) == (0, total - total % 16)


def test_a_stream_starts_with_the_whole_count_and_ends_with_the_split_one():
    async def scenario(engine):
        _status, whole = await message(engine)
        _status, events = await message(engine, stream=True)
        return whole["usage"], events

    usage, events = on_engine(scenario)
    start, delta = events[0]["message"], events[-2]
    total = sum(usage[name] for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))
    assert start["usage"] == {"input_tokens": total, "output_tokens": 0}
    assert start["content"] == []
    assert delta["usage"]["cache_read_input_tokens"] == total - total % 16
    assert delta["usage"]["output_tokens"] == usage["output_tokens"]


def test_usage_tells_nothing_of_a_cache_that_is_not_reported():
    async def scenario(engine):
        return (await message(engine))[1]["usage"]

    assert set(on_engine(scenario, reports_cached_tokens=False)) == {"input_tokens", "output_tokens"}


def test_an_answer_tells_why_it_stopped():
    async def scenario(engine):
        _status, short = await message(engine, max_tokens=1)
        _status, stopped = await message(engine, stop_sequences=["zzz", " "])
        _status, cut = await message(engine, max_tokens=8, tools=[TOOL], headers={"x_sim_tool_calls": "1"})
        return short, stopped, cut

    short, stopped, cut = on_engine(scenario)
    assert (short["stop_reason"], short["stop_sequence"]) == ("max_tokens", None)
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", " ")
    assert " " not in stopped["content"][0]["text"]
    assert (cut["stop_reason"], cut["content"]) == ("max_tokens", [{"type": "text", "text": ""}])


@pytest.mark.parametrize(
    ("choice", "types"),
    [({"type": "any"}, ["tool_use"]), ({"type": "tool", "name": "grep"}, ["tool_use"]), ({"type": "none"}, ["text"])],
)
def test_tool_choice_decides_as_it_does_in_chat(choice, types):
    async def scenario(engine):
        return [block["type"] for block in (await message(engine, tools=[TOOL], tool_choice=choice))[1]["content"]]

    assert on_engine(scenario) == types


def test_a_tool_loop_extends_the_cached_prompt():
    async def scenario(engine):
        _status, first = await message(engine, tools=[TOOL])
        call = first["content"][0]
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "line 3"}]}
        messages = [*USER, {"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]
        return first, (await message(engine, messages, tools=[TOOL]))[1]

    first, second = on_engine(scenario, tool_policy="once")
    assert [block["type"] for block in second["content"]] == ["text"]
    before = sum(first["usage"][name] for name in ("input_tokens", "cache_creation_input_tokens", "output_tokens"))
    assert second["usage"]["cache_read_input_tokens"] >= (before - 1) // 16 * 16


def test_the_line_that_one_client_changes_every_call_is_left_out():
    async def scenario(engine):
        def count(line):
            system = [{"type": "text", "text": line}, {"type": "text", "text": "be brief"}]
            return post(engine, "/v1/messages/count_tokens", {"model": "sim", "messages": USER, "system": system})

        lines = ("x-anthropic-billing-header: a", "x-anthropic-billing-header: another one")
        return [(await count(line))[1]["input_tokens"] for line in (*lines, "It was said. ")]

    one, other, said = on_engine(scenario)
    assert one == other < said


def test_thinking_blocks_of_earlier_turns_are_part_of_the_prompt_and_redacted_ones_are_not():
    async def scenario(engine):
        def count(*blocks):
            turn = {"role": "assistant", "content": [*blocks, {"type": "text", "text": "done"}]}
            body = {"model": "sim", "messages": [*USER, turn, {"role": "user", "content": "go on"}]}
            return post(engine, "/v1/messages/count_tokens", body)

        thought = {"type": "thinking", "thinking": "hm well", "signature": "s"}
        asked = [(), (thought,), ({"type": "redacted_thinking", "data": "AA"},)]
        return [(await count(*blocks))[1]["input_tokens"] for blocks in asked]

    plain, thinking, redacted = on_engine(scenario)
    assert plain == redacted < thinking


@pytest.mark.parametrize(
    ("fields", "status", "kind", "word"),
    [
        ({"model": "other"}, 404, "not_found_error", "other"),
        ({"max_tokens": 0}, 400, "invalid_request_error", "max_tokens"),
        ({"messages": []}, 400, "invalid_request_error", "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, 400, "invalid_request_error", "image"),
        ({"tool_choice": {"type": "tool"}, "tools": [TOOL]}, 400, "invalid_request_error", "name"),
        ({"tool_choice": {"type": "any"}}, 400, "invalid_request_error", "tools"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]}, 400, None, "call"),
    ],
)
def test_what_is_refused_is_refused_in_anthropics_shape(fields, status, kind, word):
    async def scenario(engine):
        return await message(engine, **fields)

    got, answer = on_engine(scenario)
    assert (got, answer["type"]) == (status, "error")
    assert answer["error"]["type"] == (kind or "invalid_request_error")
    assert word in answer["error"]["message"]


def test_closing_a_stream_ends_the_call():
    async def scenario(engine):
        body = {"model": "sim", "max_tokens": 4000, "messages": USER, "stream": True}
        answer = await engine.handle("POST", "/v1/messages", {}, json.dumps(body).encode())
        await anext(answer.body)
        await answer.body.aclose()
        await asyncio.sleep(1)
        return engine.core.stats.finished["abort"], engine.core.scheduler.pool.usage

    assert on_engine(scenario) == (1, 0)
