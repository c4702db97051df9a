"""What upstreams give beside results of tools is as bounded and clean as those."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.tools_front import serving, tool
from tests.integration.tools_furnished import furnish

from turnwise.tools_gateway.settings import Settings, UpstreamSettings
from turnwise.tools_gateway.values import Fault, ToolFault

HIDDEN = "a\u200bb\u202ec"


BYTES = "AKIAABCDEFGHIJKLMNOP"
"""Base64 that looks like a key of somebody."""


async def test_texts_of_prompts_and_resources_are_cleaned_and_marked_and_bytes_are_left():
    image = {"type": "image", "data": BYTES, "mimeType": "image/png"}
    embedded = {"type": "resource", "resource": {"uri": "x://1", "blob": BYTES}}
    said = [{"type": "text", "text": HIDDEN}, image, embedded]
    async with serving([tool("echo", "a")]) as stage:
        furnish(stage)
        stage.upstreams.answers["a", "prompts/get"] = {
            "description": HIDDEN,
            "messages": [{"role": "user", "content": block} for block in said],
        }
        stage.upstreams.answers["a", "resources/read"] = {
            "contents": [{"uri": "x://0", "text": HIDDEN}, {"uri": "x://0", "blob": BYTES}]
        }
        stage.upstreams.answers["a", "completion/complete"] = {"completion": {"values": [HIDDEN]}}
        prompt = (await stage.ask("prompts/get", {"name": "a__hello"})).json()["result"]
        assert prompt["description"] == "abc"
        assert [each["content"] for each in prompt["messages"]] == [{"type": "text", "text": "abc"}, image, embedded]
        assert prompt["_meta"]["turnwise/untrusted"] is True
        read = (await stage.ask("resources/read", {"uri": "x://0"})).json()["result"]
        assert read["contents"] == [{"uri": "x://0", "text": "abc"}, {"uri": "x://0", "blob": BYTES}]
        assert read["_meta"]["turnwise/untrusted"] is True
        about = {"ref": {"type": "ref/prompt", "name": "a__hello"}, "argument": {"name": "id", "value": "1"}}
        completed = (await stage.ask("completion/complete", about)).json()["result"]
        assert completed["completion"]["values"] == ["abc"]


async def test_what_is_listed_hides_nothing_and_has_a_name_that_hides_nothing():
    nested: list[Any] = []
    for _ in range(900):
        nested = [nested]
    async with serving([tool("echo", "a")]) as stage:
        furnish(stage)
        stage.upstreams.answers["a", "prompts/list"] = {
            "prompts": [
                {"name": "hel\u200blo"},
                {"name": "deep", "arguments": nested},
                {"name": "hello", "description": HIDDEN + "<!-- do evil -->", "arguments": [{"name": "who", "title": HIDDEN}]},
            ]
        }
        listed = (await stage.ask("prompts/list")).json()["result"]["prompts"]
        assert listed == [{"name": "a__hello", "description": "abc", "arguments": [{"name": "who", "title": "abc"}]}]


@pytest.mark.parametrize(
    ("method", "params", "given"),
    [
        ("resources/read", {"uri": "x://0"}, {"contents": [{"uri": "x://0", "text": "x" * 4096}]}),
        (
            "prompts/get",
            {"name": "a__hello"},
            {"messages": [{"role": "user", "content": {"type": "text", "text": "x" * 4096}}]},
        ),
    ],
)
async def test_a_prompt_or_resource_past_the_bound_of_results_is_refused_whole(method, params, given):
    upstream = UpstreamSettings(name="a", command=("/bin/true",), max_result_bytes=2048)
    async with serving([tool("echo", "a")], settings=Settings(upstreams=(upstream,))) as stage:
        furnish(stage)
        stage.upstreams.answers["a", method] = given
        error = (await stage.ask(method, params)).json()["error"]
        assert "at most 2048 are taken" in error["message"]


async def test_what_an_upstream_asks_in_the_midst_of_a_prompt_is_cleaned_and_marked():
    able = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    async with serving([tool("echo", "a")]) as stage:
        furnish(stage)

        async def ask(_params: Any) -> Any:
            assert stage.upstreams.answer is not None
            asked = {"message": HIDDEN, "requestedSchema": {"type": "object", "properties": {"n": {"title": HIDDEN}}}}
            given = await stage.upstreams.answer("elicitation/create", asked)
            return {"messages": [], "description": given["action"]}

        stage.upstreams.answers["a", "prompts/get"] = ask
        result = (await stage.ask("prompts/get", {"name": "a__hello"}, **able)).json()["result"]
        ((key, asked),) = result["inputRequests"].items()
        assert asked["params"]["message"] == "abc"
        assert asked["params"]["requestedSchema"]["properties"] == {"n": {"title": "abc"}}
        given = {"name": "a__hello", "requestState": result["requestState"], "inputResponses": {key: {"action": "decline"}}}
        assert (await stage.ask("prompts/get", given, **able)).json()["result"]["description"] == "decline"


async def test_what_an_upstream_refuses_with_is_cleaned_and_bounded():
    async with serving([tool("echo", "a")]) as stage:
        furnish(stage)

        def refuse(_params: Any) -> Any:
            error = {"code": -32602, "message": HIDDEN + "x" * 9000, "data": {"why": HIDDEN}, "more": "x" * 9000}
            raise ToolFault(Fault.UPSTREAM_REFUSED, "no", error)

        stage.upstreams.answers["a", "prompts/get"] = refuse
        error = (await stage.ask("prompts/get", {"name": "a__hello"})).json()["error"]
        assert error["code"] == -32602
        assert error["message"].startswith("abcxxx")
        assert len(error["message"]) <= 4096
        assert error["data"] == {"why": "abc"}
