"""What the embedded engine takes and what it refuses: bodies, headers, paths and options."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.unit.sim_engine import TOOL, chat, metric, on_engine, post

from turnwise.engines.sim import SimOptions
from turnwise.engines.sim.api import CONTROL_PATHS


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


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize"])
def test_a_body_nested_too_deeply_is_refused_wherever_it_is_noticed(path):
    async def scenario(engine):
        async def status(depth):
            tools = '[{"type":"function","function":{"name":"f"},"x":' + "[" * depth + "]" * depth + "}]"
            raw = f'{{"messages":[{{"role":"user","content":"x"}}],"max_tokens":1,"tools":{tools}}}'
            return (await post(engine, path, raw.encode()))[0]

        taken, refused = 1, 1_000_000  # how deep a parser goes differs between versions of Python
        while refused - taken > 100:
            middle = (taken + refused) // 2
            if await status(middle) == 200:
                taken = middle
            else:
                refused = middle
        return {await status(depth) for depth in range(taken - 100, refused + 100, 3)}

    assert on_engine(scenario) == {200, 400}


@pytest.mark.parametrize(
    "options", [{"preset": "none"}, {"speed": 0.0}, {"num_blocks": 0}, {"port": 99999}, {"replay_port": -1}]
)
def test_options_that_cannot_be_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SimOptions(**options).resolve()
