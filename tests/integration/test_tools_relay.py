"""What MCP has beside tools, through the gateway to the upstream where it lives."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp import Client
from mcp_types import EmptyResult, SubscribeRequest, SubscribeRequestParams, UnsubscribeRequest, UnsubscribeRequestParams
from tests.integration.tools_front import FakeTokens, Stage, serving, tool

from turnwise.tools_gateway.settings import Limits, Settings, UpstreamSettings
from turnwise.tools_gateway.values import Credential, Fault, Principal, UpstreamName

CAPABLE = {"prompts": {}, "resources": {"subscribe": True}, "completions": {}}
READ = {"contents": [{"uri": "x://1", "text": "one"}], "ttlMs": 1000, "cacheScope": "public"}


def furnish(stage: Stage) -> None:
    """Two upstreams, each with a prompt and a resource."""
    for number, upstream in enumerate(("a", "b")):
        stage.upstreams.capable[upstream] = CAPABLE
        answers = stage.upstreams.answers
        answers[upstream, "prompts/list"] = {"prompts": [{"name": "hello"}]}
        answers[upstream, "prompts/get"] = {"messages": [], "description": upstream}
        answers[upstream, "resources/list"] = {"resources": [{"uri": f"x://{number}", "name": upstream}]}
        answers[upstream, "resources/templates/list"] = {
            "resourceTemplates": [{"uriTemplate": f"{upstream}://{{id}}", "name": "t"}]
        }
        answers[upstream, "resources/read"] = {**READ, "_meta": {"by": upstream}}
        answers[upstream, "resources/subscribe"] = answers[upstream, "resources/unsubscribe"] = {}
        answers[upstream, "completion/complete"] = {"completion": {"values": [upstream]}}


TOOLS = [tool("echo", "a"), tool("echo", "b")]


async def test_prompts_are_named_by_their_upstream_and_found_by_that_name():
    async with serving(TOOLS) as stage:
        furnish(stage)
        listed = (await stage.ask("prompts/list")).json()["result"]["prompts"]
        assert [prompt["name"] for prompt in listed] == ["a__hello", "b__hello"]
        got = (await stage.ask("prompts/get", {"name": "b__hello"})).json()["result"]
        assert got["description"] == "b"
        assert stage.upstreams.asked[-1][1].params["name"] == "hello"


async def test_a_resource_is_read_where_it_is_listed_or_where_a_template_makes_it():
    async with serving(TOOLS) as stage:
        furnish(stage)
        for uri, upstream in (("x://1", "b"), ("x://0", "a"), ("b://7", "b")):
            result = (await stage.ask("resources/read", {"uri": uri})).json()["result"]
            assert result["_meta"]["by"] == upstream
            assert result["cacheScope"] == "private"


@pytest.mark.parametrize(
    ("method", "params"),
    [("resources/read", {"uri": "y://1"}), ("prompts/get", {"name": "a__other"}), ("prompts/get", {"name": "hello"})],
)
async def test_what_nobody_lists_is_not_found(method, params):
    async with serving(TOOLS) as stage:
        furnish(stage)
        error = (await stage.ask(method, params)).json()["error"]
        assert error["code"] == -32602
        assert set(params.values()) == set(error["data"].values())
        assert stage.audit.refusals == [(name, Fault.UNKNOWN_TOOL) for name in params.values()]


async def test_with_one_upstream_too_nothing_is_read_that_it_does_not_list():
    async with serving([tool("echo", "a")]) as stage:
        furnish(stage)
        assert "result" in (await stage.ask("resources/read", {"uri": "x://0"})).json()
        assert "result" in (await stage.ask("resources/read", {"uri": "a://7"})).json()
        for uri in ("file:///etc/shadow", "x://9"):
            assert (await stage.ask("resources/read", {"uri": uri})).json()["error"]["code"] == -32602
        read = [request.params["uri"] for _, request in stage.upstreams.asked if request.method == "resources/read"]
        assert read == ["x://0", "a://7"]


async def test_what_an_upstream_has_is_had_without_asking_another_for_its_lists():
    async with serving(TOOLS) as stage:
        furnish(stage)
        del stage.upstreams.answers["a", "resources/list"]
        assert "result" in (await stage.ask("prompts/get", {"name": "b__hello"})).json()
        assert {credential.upstream for credential, _ in stage.upstreams.asked} == {"b"}
        for uri in ("x://1", "b://7"):
            assert "result" in (await stage.ask("resources/read", {"uri": uri})).json()
        stage.upstreams.asked.clear()
        for uri in ("x://1", "b://7"):
            assert "result" in (await stage.ask("resources/read", {"uri": uri})).json()
        assert [(credential.upstream, request.method) for credential, request in stage.upstreams.asked] == [
            ("b", "resources/read"),
            ("b", "resources/read"),
        ]


@pytest.mark.parametrize("limits", [{"max_tenant_running": 1}, {}])
async def test_reads_wait_for_each_other_as_calls_do_and_too_many_are_refused(limits):
    most = 1 if not limits else 16
    upstream = UpstreamSettings(name="a", command=("/bin/true",), max_running=most)
    settings = Settings(upstreams=(upstream,), limits=Limits(max_queued=2, **limits))
    running = most_at_once = 0

    async def slow(_params: Any) -> Any:
        nonlocal running, most_at_once
        running += 1
        most_at_once = max(most_at_once, running)
        for _ in range(100):
            await asyncio.sleep(0)
        running -= 1
        return READ

    async with serving([tool("echo", "a")], settings=settings) as stage:
        furnish(stage)
        assert "result" in (await stage.ask("resources/read", {"uri": "x://0"})).json()
        stage.upstreams.answers["a", "resources/read"] = slow
        answers = await asyncio.gather(*(stage.ask("resources/read", {"uri": "x://0"}) for _ in range(12)))
        refused = [answer.json()["error"]["message"] for answer in answers if "error" in answer.json()]
        assert most_at_once == 1
        assert refused
        assert all("Too many calls wait for a" in message for message in refused)


async def test_an_upstream_that_cannot_be_asked_is_listed_as_it_was_and_takes_nothing_from_the_others():
    async with serving(TOOLS) as stage:
        furnish(stage)
        before = (await stage.ask("resources/list")).json()["result"]["resources"]
        del stage.upstreams.answers["b", "resources/list"]
        assert (await stage.ask("resources/list")).json()["result"]["resources"] == before
        del stage.upstreams.answers["a", "prompts/list"]
        assert [each["name"] for each in (await stage.ask("prompts/list")).json()["result"]["prompts"]] == ["b__hello"]


async def test_an_upstream_of_which_one_may_call_no_tool_shows_nothing_else():
    async with serving(TOOLS) as stage:
        furnish(stage)
        del stage.registry.known["b__echo"]
        assert [each["uri"] for each in (await stage.ask("resources/list")).json()["result"]["resources"]] == ["x://0"]
        assert "error" in (await stage.ask("prompts/get", {"name": "b__hello"})).json()


async def test_a_prompt_that_the_operators_patterns_do_not_name_is_neither_listed_nor_given():
    async with serving(TOOLS) as stage:
        furnish(stage)
        stage.registry.forbidden = {"b__hello"}
        assert [each["name"] for each in (await stage.ask("prompts/list")).json()["result"]["prompts"]] == ["a__hello"]
        assert "error" in (await stage.ask("prompts/get", {"name": "b__hello"})).json()
        assert "prompts/get" not in [request.method for _, request in stage.upstreams.asked]


async def test_what_two_upstreams_list_is_shown_once_and_told_once(caplog):
    async with serving(TOOLS) as stage:
        furnish(stage)
        for upstream in ("a", "b"):
            stage.upstreams.answers[upstream, "resources/list"] = {"resources": [{"uri": "x://0", "name": upstream}]}
        for _ in range(2):
            listed = (await stage.ask("resources/list")).json()["result"]["resources"]
            assert [each["name"] for each in listed] == ["a"]
        result = (await stage.ask("resources/read", {"uri": "x://0"})).json()["result"]
        assert result["_meta"]["by"] == "a"
    told = [record.getMessage() for record in caplog.records if "both list" in record.getMessage()]
    assert told == ["resources/list: a and b both list 'x://0': it is had of a alone"]


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


async def test_a_list_in_pages_is_one_list_and_one_without_end_is_cut():
    async with serving([tool("echo", "a")]) as stage:
        furnish(stage)
        stage.upstreams.answers["a", "resources/list"] = lambda params: {
            "resources": [{"uri": f"x://{params.get('cursor', 'first')}", "name": "r"}, {"name": "has no uri"}],
            "nextCursor": f"{params.get('cursor', '')}i",
        }
        listed = (await stage.ask("resources/list")).json()["result"]["resources"]
        assert [each["uri"] for each in listed[:3]] == ["x://first", "x://i", "x://ii"]
        assert len(listed) == 64


async def test_arguments_of_prompts_and_templates_are_completed_by_their_upstream():
    async with serving(TOOLS) as stage:
        furnish(stage)
        argument = {"name": "id", "value": "1"}
        for ref in ({"type": "ref/prompt", "name": "b__hello"}, {"type": "ref/resource", "uri": "b://{id}"}):
            result = (await stage.ask("completion/complete", {"ref": ref, "argument": argument})).json()["result"]
            assert result["completion"]["values"] == ["b"]
        assert stage.upstreams.asked[-1][1].params["ref"] == {"type": "ref/resource", "uri": "b://{id}"}


async def test_a_stream_of_the_newer_revision_hears_of_what_it_asked_for_and_of_nothing_of_another_tenant():
    tokens = FakeTokens({"a": Principal("ann")})
    async with serving([tool("echo", "a")], tokens=tokens) as stage:
        furnish(stage)
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["x://0"]}
        body = {
            "jsonrpc": "2.0",
            "id": "s",
            "method": "subscriptions/listen",
            "params": {
                "notifications": wanted,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        }
        headers = {**stage.headers("subscriptions/listen"), "authorization": "Bearer a"}
        async with asyncio.timeout(10), stage.client.stream("POST", stage.url, json=body, headers=headers) as stream:
            lines = (json.loads(line[5:]) async for line in stream.aiter_lines() if line.startswith("data:"))
            assert (await anext(lines))["method"] == "notifications/subscriptions/acknowledged"
            updated = {"uri": "x://0"}
            mine, other = (Credential(UpstreamName("a"), f"a for {tenant}") for tenant in ("ann", "bob"))
            stage.told.told(other, "notifications/resources/updated", updated)
            stage.told.told(mine, "notifications/prompts/list_changed", {})
            stage.told.told(mine, "notifications/resources/updated", updated)
            stage.told.tools_changed()
            assert (await anext(lines))["method"] == "notifications/resources/updated"
            assert (await anext(lines))["method"] == "notifications/tools/list_changed"
        asked = [request.method for _, request in stage.upstreams.asked if "subscribe" in request.method]
        assert asked[0] == "resources/subscribe"


async def test_a_session_of_the_older_revision_hears_of_changes_too():
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def hear(message: Any) -> None:
        await heard.put(message)

    async with serving([tool("echo", "a")]) as stage:
        furnish(stage)
        async with asyncio.timeout(10), Client(stage.url, mode="legacy", message_handler=hear) as client:
            about = SubscribeRequestParams(uri="x://0")
            await client.session.send_request(SubscribeRequest(params=about), EmptyResult)
            mine = Credential(UpstreamName("a"), "a for ")
            deep: Any = []
            for _ in range(300):
                deep = [deep]
            while heard.empty():  # the client opens the stream on which it is told in its own time
                stage.told.told(mine, "notifications/resources/updated", {"uri": "x://0", "_meta": {"deep": deep}})
                stage.told.told(mine, "notifications/resources/updated", {"uri": "x://0", "_meta": {"long": "x" * 65536}})
                stage.told.told(mine, "notifications/resources/updated", {"uri": "x://9"})
                stage.told.told(mine, "notifications/resources/updated", {"uri": "x://0"})
                await client.list_tools()
            assert {(await heard.get()).params.uri for _ in range(heard.qsize())} == {"x://0"}
            assert stage.told.bounds.num_dropped >= 2
            # Gone since: what was subscribed to can be taken back all the same.
            for gone, empty in (("resources/list", "resources"), ("resources/templates/list", "resourceTemplates")):
                stage.upstreams.answers["a", gone] = {empty: []}
            await client.session.list_resources()
            left = UnsubscribeRequestParams(uri="x://0")
            await client.session.send_request(UnsubscribeRequest(params=left), EmptyResult)
        methods = [request.method for _, request in stage.upstreams.asked]
        assert methods.count("resources/subscribe") == methods.count("resources/unsubscribe") == 1
