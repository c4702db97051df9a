"""What the embedded engine answers: streams and whole answers, their times, its cache and its tool calls."""

import asyncio
import json
from itertools import pairwise

import pytest
from tests.unit.sim_engine import LONG, TOOL, chat, metric, on_engine, post

from turnwise.engines.sim import SimEngine, SimOptions, run_virtual
from turnwise.engines.sim.cost import PRESETS


def events_of(chunks):
    texts = [chunk.decode().removeprefix("data: ").strip() for chunk in chunks]
    assert texts[-1] == "[DONE]"
    return [json.loads(text) for text in texts[:-1]]


def test_a_stream_says_what_the_whole_answer_says():
    async def scenario(engine):
        _status, whole = await chat(engine)
        _status, chunks = await chat(engine, stream=True, stream_options={"include_usage": True})
        return whole, events_of(chunks)

    whole, events = on_engine(scenario)
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == whole["choices"][0]["message"]["content"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert events[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]


def test_a_stream_without_include_usage_has_no_usage_chunk():
    async def scenario(engine):
        return events_of((await chat(engine, stream=True))[1])

    assert all(event["choices"] and "usage" not in event for event in on_engine(scenario))


def test_the_same_seed_gives_the_same_answers_at_the_same_times():
    async def scenario(engine):
        asked = [chat(engine, f"{LONG} {index % 3}", priority=index % 2) for index in range(20)]
        answers = await asyncio.gather(*asked)
        return answers, asyncio.get_running_loop().time(), [batch.payload for batch in engine.log.kept]

    first = on_engine(scenario, seed=7, num_blocks=80)
    assert on_engine(scenario, seed=7, num_blocks=80) == first
    assert on_engine(scenario, seed=8, num_blocks=80)[0] != first[0]


def test_an_answer_does_not_depend_on_load():
    async def alone(engine):
        return (await chat(engine))[1]["choices"]

    async def crowded(engine):
        others = [chat(engine, f"{LONG} {index}") for index in range(10)]
        return (await asyncio.gather(chat(engine), *others))[0][1]["choices"]

    assert on_engine(alone)[0]["message"]["content"] == on_engine(crowded)[0]["message"]["content"]


def test_speed_divides_the_time_that_an_answer_takes():
    async def scenario(engine):
        await chat(engine, LONG, max_tokens=50, ignore_eos=True)
        return asyncio.get_running_loop().time()

    assert on_engine(scenario) == pytest.approx(10 * on_engine(scenario, speed=10.0))


def test_a_cached_prompt_is_answered_sooner():
    async def scenario(engine):
        loop = asyncio.get_running_loop()
        times = []
        for _ in range(2):
            since = loop.time()
            await chat(engine, LONG, max_tokens=1)
            times.append(loop.time() - since)
        return times

    cold, warm = on_engine(scenario, preset="l4-8b")
    assert warm < cold / 1.5


def test_an_engine_that_was_idle_takes_as_long_for_its_first_step_as_for_any():
    async def scenario(engine):
        loop = asyncio.get_running_loop()
        times = []
        for number in range(3):
            await asyncio.sleep(10.0)
            since = loop.time()
            await chat(engine, f"{LONG} {number}".swapcase() if number % 2 else f"{number} {LONG}", max_tokens=1)
            times.append(loop.time() - since)
        return times

    assert min(on_engine(scenario, preset="h100-8b")) >= PRESETS["h100-8b"].cost.step_s


def test_a_turn_finds_the_blocks_of_the_answer_before_it():
    async def scenario(engine):
        messages = [{"role": "user", "content": LONG}]
        found = []
        for _ in range(4):
            _status, answer = await post(engine, "/v1/chat/completions", {"messages": messages})
            usage = answer["usage"]
            found.append((usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"] + usage["completion_tokens"]))
            messages += [answer["choices"][0]["message"], {"role": "user", "content": "Go on, please."}]
        return found

    found = on_engine(scenario)
    for (_before, computed), (cached, _total) in pairwise(found):
        assert cached == (computed - 1) // 16 * 16  # the last token of an answer is never fed back


def test_a_call_to_an_engine_that_stops_is_told_so():
    async def main():
        async with SimEngine(SimOptions()) as engine:
            body = {"messages": [{"role": "user", "content": LONG}], "stream": True}
            answer = await engine.handle("POST", "/v1/chat/completions", {}, json.dumps(body).encode())
            await anext(answer.body)
        with pytest.raises(RuntimeError, match="stopped"):
            async for _chunk in answer.body:
                pass
        with pytest.raises(RuntimeError, match="stopped"):
            await chat(engine)

    run_virtual(main())


def test_cache_salt_isolates():
    async def scenario(engine):
        cached = []
        for salt in ("a", "b", "a"):
            _status, answer = await chat(engine, LONG, max_tokens=1, cache_salt=salt)
            cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
        return cached

    first, other, again = on_engine(scenario)
    assert (first, other) == (0, 0)
    assert again > 0


def test_usage_without_details_where_the_engine_does_not_report_them():
    async def scenario(engine):
        return (await chat(engine))[1]["usage"]

    assert on_engine(scenario, reports_cached_tokens=False)["prompt_tokens_details"] is None


def test_several_choices_differ_and_count_in_one_usage():
    async def scenario(engine):
        _status, whole = await chat(engine, n=3, max_tokens=9, ignore_eos=True)
        _status, chunks = await chat(engine, n=3, max_tokens=9, ignore_eos=True, stream=True)
        return whole, events_of(chunks)

    whole, events = on_engine(scenario)
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert len(set(texts)) == 3
    assert whole["usage"]["completion_tokens"] == 27
    streamed = ["", "", ""]
    for event in events:
        for choice in event["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content", "")
    assert streamed == texts


@pytest.mark.parametrize(
    ("fields", "headers", "count"),
    [
        ({"tool_choice": "required"}, {}, 1),
        ({"tool_choice": {"type": "function", "function": {"name": "grep"}}}, {}, 1),
        ({}, {"x-sim-tool-calls": "2"}, 2),
        ({}, {"x-sim-tool-calls": "0"}, 0),
        ({"tool_choice": "none"}, {"x-sim-tool-calls": "2"}, 0),
    ],
)
def test_tool_calls_on_request_are_whole_and_streamed_alike(fields, headers, count):
    async def scenario(engine):
        _status, whole = await chat(engine, headers=headers, tools=[TOOL], **fields)
        _status, chunks = await chat(engine, headers=headers, tools=[TOOL], stream=True, **fields)
        return whole["choices"][0], events_of(chunks)

    choice, events = on_engine(scenario)
    calls = choice["message"]["tool_calls"]
    assert len(calls) == count
    assert (choice["finish_reason"] == "tool_calls") == bool(count)
    assert all(set(json.loads(call["function"]["arguments"])) == {"q"} for call in calls)
    names, arguments = [], [""] * count
    for event in events:
        for delta in event["choices"][0]["delta"].get("tool_calls", ()):
            names += [delta["function"]["name"]] if "name" in delta["function"] else []
            arguments[delta["index"]] += delta["function"]["arguments"]
    assert names == ["grep"] * count
    assert arguments == [call["function"]["arguments"] for call in calls]


def test_a_header_of_names_has_those_tools_called_in_its_order():
    other = {"type": "function", "function": {**TOOL["function"], "name": "find"}}

    async def scenario(engine):
        _status, whole = await chat(engine, headers={"x-sim-tool-calls": "find,grep,find"}, tools=[TOOL, other])
        return whole["choices"][0]["message"]["tool_calls"]

    calls = on_engine(scenario)
    assert [call["function"]["name"] for call in calls] == ["find", "grep", "find"]
    assert len({call["id"] for call in calls}) == 3


@pytest.mark.parametrize("asked", ["grep,nothing", "-1", "17", ",".join(["grep"] * 17), "grep,"])
def test_a_header_that_asks_for_calls_that_cannot_be_is_refused(asked):
    async def scenario(engine):
        return await chat(engine, headers={"x-sim-tool-calls": asked}, tools=[TOOL])

    status, answer = on_engine(scenario)
    assert status == 400
    assert answer["error"]["param"] == "x-sim-tool-calls"


def test_automatic_tool_calls_come_to_an_end_in_a_loop_of_results():
    async def scenario(engine):
        messages = [{"role": "user", "content": "fix the bug"}]
        for round_number in range(50):
            _status, answer = await post(engine, "/v1/chat/completions", {"messages": messages, "tools": [TOOL]})
            message = answer["choices"][0]["message"]
            if not message["tool_calls"]:
                return round_number
            messages.append(message)
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": f"line {round_number}"}
                for call in message["tool_calls"]
            ]
        raise AssertionError("it calls tools for ever")

    rounds = [on_engine(scenario, seed=seed) for seed in range(12)]
    assert len(set(rounds)) > 1


def test_closing_a_stream_frees_its_blocks():
    async def scenario(engine):
        body = {"messages": [{"role": "user", "content": LONG}], "stream": True, "max_tokens": 500, "ignore_eos": True}
        answer = await engine.handle("POST", "/v1/chat/completions", {}, json.dumps(body).encode())
        await anext(answer.body)
        running = await metric(engine, "vllm:num_requests_running")
        await answer.body.aclose()
        await asyncio.sleep(1)
        return running, await metric(engine, "vllm:num_requests_running"), engine.core.scheduler.pool.usage

    assert on_engine(scenario) == (1, 0, 0)


def test_cancelling_a_whole_answer_frees_its_blocks():
    async def scenario(engine):
        asked = asyncio.create_task(chat(engine, LONG, max_tokens=500, ignore_eos=True))
        await asyncio.sleep(0.1)
        running = await metric(engine, "vllm:num_requests_running")
        asked.cancel()
        await asyncio.sleep(1)
        assert asked.cancelled()
        return running, await metric(engine, "vllm:num_requests_running"), engine.core.scheduler.pool.usage

    assert on_engine(scenario) == (1, 0, 0)


def test_adapters_are_served_under_their_names_and_do_not_share_blocks():
    async def scenario(engine):
        listed = json.loads((await engine.handle("GET", "/v1/models", {}, b"")).body)
        await chat(engine, LONG, model="base")
        _status, answer = await chat(engine, LONG, model="ad1")
        return [card["id"] for card in listed["data"]], answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert on_engine(scenario, model="base", loras=("ad1",)) == (["base", "ad1"], 0)
