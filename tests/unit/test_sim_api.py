import asyncio
import json
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest

from turnwise.engines.sim import SimEngine, SimOptions, run_virtual
from turnwise.engines.sim.api import CONTROL_PATHS
from turnwise.engines.sim.cost import PRESETS

TOOL = {
    "type": "function",
    "function": {"name": "grep", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
}
LONG = "Tell me about the history of the paged cache in many words, please. " * 20


def on_engine(scenario, **options):
    """Run a scenario against a fresh engine on a virtual clock."""

    async def main():
        async with SimEngine(SimOptions(**options)) as engine:
            return await scenario(engine)

    return run_virtual(main())


async def post(engine, path, body, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await engine.handle("POST", path, {name.replace("_", "-"): value for name, value in headers.items()}, raw)
    if isinstance(answer.body, bytes):
        return answer.status, json.loads(answer.body) if answer.body else None
    async with aclosing(answer.body) as chunks:
        return answer.status, [chunk async for chunk in chunks]


async def chat(engine, content="hello", headers=None, **fields):
    body = {"messages": [{"role": "user", "content": content}], **fields}
    return await post(engine, "/v1/chat/completions", body, **(headers or {}))


def events_of(chunks):
    texts = [chunk.decode().removeprefix("data: ").strip() for chunk in chunks]
    assert texts[-1] == "[DONE]"
    return [json.loads(text) for text in texts[:-1]]


async def metric(engine, name):
    answer = await engine.handle("GET", "/metrics", {}, b"")
    return sum(float(line.rpartition(" ")[2]) for line in answer.body.decode().splitlines() if line.startswith(name))


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


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b'{"messages": [', 400, None),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', 400, None),
        (b"[]", 400, None),
        (b"{}", 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, 400, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x"}], "max_tokens": "many"}, 400, "max_tokens"),
        ({"messages": [{"role": "user", "content": "x"}], "n": 0}, 400, "n"),
        ({"messages": [{"role": "user", "content": "x"}], "stop": ["a", ""]}, 400, "stop"),
        ({"messages": [{"role": "user", "content": "x"}], "model": "other"}, 404, "model"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, 400, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, 400, "input_tokens"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}, 400, "tools"),
        ({"messages": [{"role": "user", "content": "x"}], "tool_choice": "required"}, 400, "tools"),
    ],
)
def test_what_a_client_gets_wrong_is_a_4xx_that_names_the_field(body, status, param):
    async def scenario(engine):
        return await post(engine, "/v1/chat/completions", body), await chat(engine)

    (got, error), (after, _answer) = on_engine(scenario)
    assert (got, error["error"]["code"], error["error"]["param"]) == (status, status, param)
    assert error["error"]["message"]
    assert after == 200


@pytest.mark.parametrize("prompt", ["some text", [1, 2, 3], ["a", "b"], [[1, 2], [3, 4]]])
def test_completions_take_texts_and_token_ids(prompt):
    async def scenario(engine):
        return await post(engine, "/v1/completions", {"prompt": prompt, "max_tokens": 3, "ignore_eos": True})

    status, answer = on_engine(scenario)
    assert status == 200
    assert len(answer["choices"]) == (2 if isinstance(prompt[0], (list, str)) and len(prompt) == 2 else 1)


@pytest.mark.parametrize("prompt", [None, "", [], [1, "a"], [[-1]], [2**40], 7])
def test_completions_refuse_what_is_no_prompt(prompt):
    async def scenario(engine):
        return await post(engine, "/v1/completions", {"prompt": prompt})

    assert on_engine(scenario)[0] == 400


def test_tokenize_counts_what_chat_counts():
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]

    async def scenario(engine):
        _status, counted = await post(engine, "/tokenize", {"messages": messages, "tools": [TOOL]})
        _status, answer = await post(engine, "/v1/chat/completions", {"messages": messages, "tools": [TOOL]})
        return counted["count"], answer["usage"]["prompt_tokens"]

    counted, used = on_engine(scenario)
    assert counted == used


def test_a_request_id_names_the_answer_and_is_echoed():
    async def scenario(engine):
        body = b'{"messages": [{"role": "user", "content": "x"}]}'
        return await engine.handle("POST", "/v1/chat/completions", {"X-Request-Id": "abc"}, body)

    answer = on_engine(scenario)
    assert json.loads(answer.body)["id"] == "chatcmpl-abc"
    assert ("x-request-id", "abc") in answer.headers


def test_a_priority_header_overrides_the_body():
    async def scenario(engine):
        order = []

        async def ask(name, headers, priority):
            await chat(engine, name, headers=headers, priority=priority, max_tokens=5)
            order.append(name)

        await asyncio.gather(ask("first", {}, 0), ask("late", {}, 5), ask("early", {"x-vllm-priority": "-1"}, 9))
        return order

    assert on_engine(scenario, max_num_seqs=1).index("early") < 2


@pytest.mark.parametrize("path", sorted(CONTROL_PATHS))
def test_control_paths_answer_and_are_counted(path):
    async def scenario(engine):
        status = (await engine.handle("POST", path, {}, b"")).status
        return status, engine.control_calls[path], await metric(engine, f'sim:control_calls_total{{path="{path}"}}')

    assert on_engine(scenario) == (200, 1, 1)


def test_control_paths_are_those_of_a_real_replica():
    routes = (Path(__file__).parent.parent / "data" / "vllm-0.32" / "routes.txt").read_text()
    assert set(CONTROL_PATHS) <= {line.partition(",")[0] for line in routes.splitlines() if "POST" in line}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/chat/completions", 405), ("POST", "/nowhere", 404)])
def test_other_paths_and_methods_are_refused(method, path, status):
    async def scenario(engine):
        return (await engine.handle(method, path, {}, b"")).status

    assert on_engine(scenario) == status


def test_adapters_are_served_under_their_names_and_do_not_share_blocks():
    async def scenario(engine):
        listed = json.loads((await engine.handle("GET", "/v1/models", {}, b"")).body)
        await chat(engine, LONG, model="base")
        _status, answer = await chat(engine, LONG, model="ad1")
        return [card["id"] for card in listed["data"]], answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert on_engine(scenario, model="base", loras=("ad1",)) == (["base", "ad1"], 0)


@pytest.mark.parametrize(
    "options", [{"preset": "none"}, {"speed": 0.0}, {"num_blocks": 0}, {"port": 99999}, {"replay_port": -1}]
)
def test_options_that_cannot_be_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SimOptions(**options).resolve()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize"])
def test_a_body_nested_too_deeply_is_refused_wherever_it_is_noticed(path):
    async def scenario(engine):
        statuses = set()
        for depth in range(900, 1100, 3):
            tools = '[{"type":"function","function":{"name":"f"},"x":' + "[" * depth + "]" * depth + "}]"
            raw = f'{{"messages":[{{"role":"user","content":"x"}}],"max_tokens":1,"tools":{tools}}}'
            statuses.add((await post(engine, path, raw.encode()))[0])
        return statuses

    assert on_engine(scenario) == {200, 400}
