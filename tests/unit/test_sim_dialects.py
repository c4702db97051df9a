"""What the embedded engine's APIs share (one prompt, one cache, one policy of tool calls), and calls that generate nothing."""

import base64
import json
import math
import random
import struct

import pytest
from tests.unit.sim_engine import on_engine, post

from turnwise.engines.sim import SimOptions
from turnwise.engines.sim.invent import invent

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
FUNCTION = {"name": "grep", "description": "find text", "parameters": SCHEMA}
LONG = "find the bug in the paged cache " * 20
CALL = {"q": "a b"}


def chat_body():
    arguments = json.dumps(CALL, separators=(",", ":"))
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": LONG},
        {
            "role": "assistant",
            "content": "I look",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "grep", "arguments": arguments}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "line 3"},
        {"role": "user", "content": "and then?"},
    ]
    return {"model": "sim", "messages": messages, "tools": [{"function": FUNCTION, "type": "function"}], "max_tokens": 5}


def messages_body():
    messages = [
        {"role": "user", "content": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "I look"}, {"type": "tool_use", "id": "c1", "name": "grep", "input": CALL}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "line 3"},
                {"type": "text", "text": "and then?"},
            ],
        },
    ]
    tool = {"input_schema": SCHEMA, "name": "grep", "description": "find text"}
    return {"model": "sim", "system": "be brief", "messages": messages, "tools": [tool], "max_tokens": 5}


def responses_body():
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": LONG}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "grep", "arguments": json.dumps(CALL, separators=(",", ":"))},
        {"type": "function_call_output", "call_id": "c1", "output": "line 3"},
        {"role": "user", "content": "and then?"},
    ]
    tools = [{"type": "function", **FUNCTION, "strict": None}]
    return {"model": "sim", "instructions": "be brief", "input": items, "tools": tools, "max_output_tokens": 5}


BODIES = {
    "/v1/chat/completions": chat_body(),
    "/v1/messages": messages_body(),
    "/v1/responses": responses_body(),
}


def prompt_and_cached(path, usage):
    if path == "/v1/messages":
        cached = usage["cache_read_input_tokens"]
        return usage["input_tokens"] + cached + usage["cache_creation_input_tokens"], cached
    if path == "/v1/responses":
        return usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]
    return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


@pytest.mark.parametrize("first", BODIES)
def test_one_conversation_is_one_prompt_in_every_api(first):
    async def scenario(engine):
        seen = {}
        for path in (first, *(path for path in BODIES if path != first)):
            status, answer = await post(engine, path, BODIES[path], x_sim_tool_calls="0")
            assert status == 200, answer
            seen[path] = prompt_and_cached(path, answer["usage"])
        return seen

    seen = on_engine(scenario)
    ((prompt, cold),) = {seen.pop(first)}
    assert cold == 0
    assert set(seen.values()) == {(prompt, (prompt - 1) // 16 * 16)}


def test_counting_and_tokenizing_count_what_is_used():
    async def scenario(engine):
        body = BODIES["/v1/messages"]
        _status, counted = await post(engine, "/v1/messages/count_tokens", body)
        _status, tokens = await post(engine, "/tokenize", BODIES["/v1/chat/completions"])
        _status, answer = await post(engine, "/v1/messages", body)
        return counted["input_tokens"], tokens["count"], prompt_and_cached("/v1/messages", answer["usage"])[0]

    assert len(set(on_engine(scenario))) == 1


def shows_call(path, answer):
    if path == "/v1/messages":
        return any(block["type"] == "tool_use" for block in answer["content"])
    if path == "/v1/responses":
        return any(item["type"] == "function_call" for item in answer["output"])
    return bool(answer["choices"][0]["message"]["tool_calls"])


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("policy", "calls"), [("once", True), ("never", False)])
def test_the_tool_policy_holds_in_every_api(path, policy, calls):
    async def scenario(engine):
        return shows_call(path, (await post(engine, path, {**BODIES[path], "max_tokens": 400, "max_output_tokens": 400}))[1])

    assert [on_engine(scenario, tool_policy=policy, seed=seed) for seed in range(5)] == [calls] * 5


TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("first", "second", "last")]


async def called(engine, messages, **fields):
    body = {"messages": messages, "tools": TOOLS, **fields}
    _status, answer = await post(engine, "/v1/chat/completions", body)
    return answer["choices"][0]["message"]


def test_under_once_the_first_tool_is_called_once_in_each_turn_of_the_user():
    async def scenario(engine):
        messages, names = [], []
        for turn in range(3):
            messages.append({"role": "user", "content": f"turn {turn}"})
            while True:
                message = await called(engine, messages)
                messages.append(message)
                names.append([call["function"]["name"] for call in message["tool_calls"]])
                if not message["tool_calls"]:
                    break
                messages += [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in message["tool_calls"]]
        return names

    assert on_engine(scenario, tool_policy="once") == [["first"], []] * 3


def test_under_once_a_caller_that_always_demands_a_call_gets_the_last_tool_after_a_result():
    async def scenario(engine):
        asked = [{"role": "user", "content": "go"}]
        first = await called(engine, asked, tool_choice="required")
        result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "ok"}
        observed = [{"role": "assistant", "content": "calling"}, {"role": "user", "content": "Observation:\nok"}]
        native = await called(engine, [*asked, first, result], tool_choice="required")
        textual = await called(engine, [*asked, *observed], tool_choice="required")
        return [message["tool_calls"][0]["function"]["name"] for message in (first, native, textual)]

    assert on_engine(scenario, tool_policy="once") == ["first", "last", "last"]


@pytest.mark.parametrize("policy", ["header", "once", "never"])
def test_the_header_wins_over_every_policy(policy):
    async def scenario(engine):
        body = {"messages": [{"role": "user", "content": "go"}], "tools": TOOLS}
        asked = [await post(engine, "/v1/chat/completions", body, x_sim_tool_calls=str(count)) for count in (0, 2)]
        return [len(answer["choices"][0]["message"]["tool_calls"]) for _status, answer in asked]

    assert on_engine(scenario, tool_policy=policy) == [0, 2]


def test_an_unknown_policy_is_named():
    with pytest.raises(ValueError, match="tool_policy"):
        SimOptions(tool_policy="twice").resolve()


@pytest.mark.parametrize(
    ("schema", "check"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}, lambda v: set(v) == {"a"}),
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}}, lambda v: set(v) == {"a", "b"}),
        ({"type": "object"}, lambda v: v == {}),
        ({"$ref": "#/$defs/P", "$defs": {"P": {"enum": ["x"]}}}, lambda v: v == "x"),
        ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 5, "maximum": 5}]}, lambda v: v == 5),
        ({"oneOf": [{"const": 3}, {"const": 4}]}, lambda v: v == 3),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": {"const": 2}}}]},
            lambda v: v == {"a": 1},
        ),
        ({"type": "string", "default": "here"}, lambda v: v == "here"),
        ({"type": ["null", "boolean"]}, lambda v: isinstance(v, bool)),
        ({"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 9, "multipleOf": 4}, lambda v: v == 8),
        ({"type": "integer", "maximum": -5}, lambda v: v <= -5),
        ({"type": "number", "minimum": 1, "maximum": 2}, lambda v: 1 <= v <= 2),
        ({"type": "number", "exclusiveMaximum": 0}, lambda v: v < 0),
        ({"type": "array", "items": {"const": 1}, "minItems": 3}, lambda v: v == [1, 1, 1]),
        ({"type": "array", "maxItems": 0}, lambda v: v == []),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": "a"}]}, lambda v: v == [1, "a"]),
        ({"type": "string", "minLength": 200, "maxLength": 210}, lambda v: 200 <= len(v) <= 210),
        ({"type": "string", "format": "date"}, lambda v: v == "2026-01-31"),
        ({"$ref": "#/nowhere"}, lambda v: isinstance(v, str)),
    ],
)
def test_invented_arguments_fit_their_schema(schema, check):
    for seed in range(20):
        value = invent(random.Random(seed), schema)
        assert check(value), value


@pytest.mark.parametrize("required", [["next"], []])
def test_a_schema_that_refers_to_itself_ends(required):
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": required}
    assert json.dumps(invent(random.Random(1), schema))


async def embedding(engine, given, **fields):
    return await post(engine, "/v1/embeddings", {"model": "sim", "input": given, **fields})


def test_embeddings_depend_on_the_text_alone_and_have_length_one():
    async def scenario(engine):
        _status, answer = await embedding(engine, ["one text", "another", "one text"])
        return answer

    answer = on_engine(scenario)
    first, other, again = (part["embedding"] for part in answer["data"])
    assert first == again != other
    assert math.hypot(*first) == pytest.approx(1.0)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == 6
    assert on_engine(scenario, seed=3)["data"] == answer["data"]


def test_packed_embeddings_are_the_same_numbers():
    async def scenario(engine):
        _status, plain = await embedding(engine, "one text", dimensions=8)
        _status, packed = await embedding(engine, "one text", dimensions=8, encoding_format="base64")
        return plain["data"][0]["embedding"], packed["data"][0]["embedding"]

    plain, packed = on_engine(scenario)
    assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(plain)


@pytest.mark.parametrize(("given", "count"), [([1, 2, 3], 1), ([[1, 2], [3]], 2), ("text", 1)])
def test_embeddings_take_texts_and_token_ids(given, count):
    async def scenario(engine):
        return len((await embedding(engine, given))[1]["data"])

    assert on_engine(scenario) == count


@pytest.mark.parametrize("given", ["", [], [""], None])
def test_nothing_cannot_be_embedded(given):
    async def scenario(engine):
        return (await embedding(engine, given))[0]

    assert on_engine(scenario) == 400


def test_tokens_that_were_met_are_given_back_as_text():
    async def scenario(engine):
        text = "Hello world, 123 times!\n"
        for prompt in (text, "ruduli", text):  # of which one piece has the id of " 123"
            _status, tokens = await post(engine, "/tokenize", {"prompt": prompt})
        _status, known = await post(engine, "/detokenize", {"tokens": tokens["tokens"]})
        _status, unknown = await post(engine, "/detokenize", {"tokens": [2**31]})
        return text, known["prompt"], unknown["prompt"]

    text, known, unknown = on_engine(scenario)
    assert known == text
    assert unknown == "\ufffd"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/detokenize", "/tokenize"])
def test_calls_that_generate_nothing_are_by_model_too(path):
    async def scenario(engine):
        return (await post(engine, path, {"model": "other", "input": "x", "tokens": [1], "prompt": "x"}))[0]

    assert on_engine(scenario) == 404
