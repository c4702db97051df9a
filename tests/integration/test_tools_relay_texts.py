"""What upstreams give beside results of tools is as bounded and clean as those."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.tools_front import serving, tool
from tests.integration.tools_furnished import furnish

from turnwise.tools_gateway.settings import Settings, UpstreamSettings

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
