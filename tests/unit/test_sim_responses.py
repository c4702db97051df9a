import json
from contextlib import aclosing

import pytest
from tests.unit.sim_engine import named_event, on_engine, post, read_named, send

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
TOOL = {"type": "function", "name": "grep", "description": "find text", "parameters": SCHEMA}
TEXT = "find the bug " * 30


async def respond(engine, text=TEXT, headers=None, **fields):
    status, answer = await post(engine, "/v1/responses", {"model": "sim", "input": text, **fields}, **(headers or {}))
    return status, read_named(answer)


def nameless(items):
    """Items without what differs between two calls."""
    return [{name: value for name, value in item.items() if name not in {"id", "call_id"}} for item in items]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_stream_builds_what_the_whole_answer_holds(count):
    async def scenario(engine):
        headers = {"x_sim_tool_calls": str(count)}
        _status, whole = await respond(engine, tools=[TOOL], headers=headers)
        _status, events = await respond(engine, tools=[TOOL], headers=headers, stream=True)
        return whole, events

    whole, events = on_engine(scenario)
    final = events[-1]["response"]
    assert [value["sequence_number"] for value in events] == list(range(len(events)))
    assert [value["type"] for value in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    assert [item["type"] for item in whole["output"]] == (["function_call"] * count or ["message"])
    assert nameless(final["output"]) == nameless(whole["output"])
    done = [value["item"] for value in events if value["type"] == "response.output_item.done"]
    assert done == final["output"]
    for index, item in enumerate(final["output"]):
        of_item = [value for value in events if value.get("item_id") == item["id"]]
        said = "".join(value["delta"] for value in of_item if value["type"].endswith(".delta"))
        assert said == (item["arguments"] if count else item["content"][0]["text"])
        assert {value["output_index"] for value in of_item} == {index}


def test_a_response_begins_before_its_first_token():
    async def scenario(engine):
        body = {"model": "sim", "input": TEXT, "stream": True}
        answer = await engine.handle("POST", "/v1/responses", {}, json.dumps(body).encode())
        async with aclosing(answer.body) as chunks:
            created = named_event(await anext(chunks))
            return created, engine.core.stats.generation_tokens

    created, generated = on_engine(scenario)
    assert (created["response"]["status"], created["response"]["output"], generated) == ("in_progress", [], 0)


def test_a_response_that_is_cut_short_says_so():
    async def scenario(engine):
        return (await respond(engine, max_output_tokens=3))[1]

    answer = on_engine(scenario)
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert answer["output"][0]["status"] == "incomplete"
    assert answer["usage"]["output_tokens"] == 3


def test_a_continued_response_reads_as_the_whole_history_does():
    async def scenario(engine):
        _status, first = await respond(engine, tools=[TOOL], instructions="be brief")
        result = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "line 3"}
        _status, continued = await respond(
            engine, [result], tools=[TOOL], instructions="be brief", previous_response_id=first["id"]
        )
        history = [{"role": "user", "content": TEXT}, *first["output"], result]
        _status, whole = await respond(engine, history, tools=[TOOL], instructions="be brief")
        _status, third = await respond(engine, "go on", previous_response_id=continued["id"], tools=[TOOL])
        return first, continued, whole, third

    first, continued, whole, third = on_engine(scenario, tool_policy="once")
    assert continued["output"][0]["content"] == whole["output"][0]["content"]
    assert continued["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    assert continued["usage"]["input_tokens_details"]["cached_tokens"] >= first["usage"]["total_tokens"] // 16 * 16 - 16
    assert continued["previous_response_id"] == first["id"]
    assert third["usage"]["input_tokens"] > continued["usage"]["input_tokens"]


def test_instructions_do_not_carry_over():
    async def scenario(engine):
        _status, first = await respond(engine, instructions="a long word " * 20, max_output_tokens=4)
        _status, plain = await respond(engine, max_output_tokens=4, store=True)
        continued = [await respond(engine, "go on", previous_response_id=answer["id"]) for answer in (first, plain)]
        return [answer["usage"]["input_tokens"] for _status, answer in continued]

    one, other = on_engine(scenario)
    assert abs(one - other) < 8


def test_a_stored_response_is_given_again_and_cannot_be_cancelled():
    async def scenario(engine):
        _status, whole = await respond(engine)
        _status, events = await respond(engine, stream=True)
        read = [await send(engine, "GET", f"/v1/responses/{name}") for name in (whole["id"], events[-1]["response"]["id"])]
        return [whole, events[-1]["response"]], read, await send(engine, "POST", f"/v1/responses/{whole['id']}/cancel")

    given, read, (status, refused) = on_engine(scenario)
    assert read == [(200, answer) for answer in given]
    assert (status, refused["error"]["param"]) == (400, "response_id")


def test_an_answer_that_is_not_to_be_stored_is_not_there():
    async def scenario(engine):
        _status, answer = await respond(engine, store=False)
        return [
            await send(engine, "GET", f"/v1/responses/{answer['id']}"),
            await send(engine, "POST", f"/v1/responses/{answer['id']}/cancel"),
            await respond(engine, previous_response_id=answer["id"]),
        ]

    for status, answer in on_engine(scenario):
        assert status == 404
        assert "not found" in answer["error"]["message"]


def test_a_stream_that_was_left_stores_nothing():
    async def scenario(engine):
        body = {"model": "sim", "input": TEXT, "stream": True}
        answer = await engine.handle("POST", "/v1/responses", {}, json.dumps(body).encode())
        created = named_event(await anext(answer.body))
        await answer.body.aclose()
        return (await send(engine, "GET", f"/v1/responses/{created['response']['id']}"))[0]

    assert on_engine(scenario) == 404


def test_two_engines_give_no_id_twice():
    async def scenario(engine):
        headers = [{"x_request_id": name} for name in ("one", "two")]
        return [(await respond(engine, headers=header))[1]["id"] for header in headers]

    names = [*on_engine(scenario), *on_engine(scenario, port=1), *on_engine(scenario, wall_epoch_s=7.5)]
    assert len(set(names)) == len(names)
    assert on_engine(scenario) == names[:2]


def test_what_one_turn_of_the_assistant_gave_is_one_message():
    async def scenario(engine):
        thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
        spoken = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look"}]}
        call = {"type": "function_call", "call_id": "c1", "name": "grep", "arguments": '{"q":"a"}'}
        result = {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "line 3"}]}
        items = [{"role": "user", "content": TEXT}, thought, spoken, call, result]
        _status, one = await respond(engine, items, max_output_tokens=1)
        messages = [
            {"role": "user", "content": TEXT},
            {
                "role": "assistant",
                "reasoning": "hm",
                "content": "I look",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "grep", "arguments": '{"q":"a"}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "line 3"},
        ]
        _status, tokens = await send(engine, "POST", "/tokenize", {"messages": messages})
        return one["usage"]["input_tokens"], tokens["count"]

    counted, expected = on_engine(scenario)
    assert counted == expected


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "other"}, 404, "model"),
        ({"max_output_tokens": 0}, 400, "max_output_tokens"),
        ({"input": []}, 400, "messages"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, 400, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}, 400, "messages[0].tool_call_id"),
        ({"input": [{"role": "user"}]}, 400, "input[0]"),
        ({"tools": [{"type": "function"}]}, 400, "tools[0]"),
        ({"tool_choice": {"type": "function", "name": "no"}, "tools": [TOOL]}, 400, "tool_choice"),
        ({"conversation": "conv_1"}, 400, "conversation"),
        ({"background": True}, 400, "background"),
        ({"previous_response_id": "resp_x"}, 404, "previous_response_id"),
    ],
)
def test_what_is_refused_names_its_field(fields, status, param):
    async def scenario(engine):
        return await send(engine, "POST", "/v1/responses", {"model": "sim", "input": TEXT, **fields})

    got, answer = on_engine(scenario)
    assert (got, answer["error"]["code"], answer["error"]["param"]) == (status, status, param)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/responses/resp_x"), ("GET", "/v1/responses/resp_x/cancel")])
def test_other_methods_on_a_response_are_refused(method, path):
    async def scenario(engine):
        return (await send(engine, method, path))[0]

    assert on_engine(scenario) == 405


def test_hosted_tools_are_passed_over():
    async def scenario(engine):
        hosted = [{"type": "web_search"}, TOOL, {"type": "namespace", "name": "n", "tools": []}]
        return [(await respond(engine, tools=tools))[1]["usage"]["input_tokens"] for tools in (hosted, [TOOL])]

    one, other = on_engine(scenario)
    assert one == other
