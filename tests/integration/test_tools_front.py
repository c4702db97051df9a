"""The MCP endpoint as clients of either revision meet it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from mcp import Client
from tests.integration.tools_front import RESERVED, REVISION, TEXT, Asked, serving, tool

from turnwise.tools_gateway.settings import Front, Limits, Settings, UpstreamSettings
from turnwise.tools_gateway.values import Fault, JsonObject, ToolFault


async def test_a_call_of_the_newer_revision_reaches_the_runs_and_its_result_comes_back_as_json():
    async with serving() as stage:
        response = await stage.call("std__echo", {"text": "hi"})
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        result = response.json()["result"]
        assert result["content"] == TEXT["content"]
        assert result["resultType"] == "complete"
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "turnwise"
        assert stage.runs.asked[0].params["arguments"] == {"text": "hi"}


async def test_a_call_of_the_older_revision_reaches_the_same_runs():
    async with serving() as stage, Client(stage.url, mode="legacy") as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["std__echo"]
        result = await client.call_tool("std__echo", {"text": "hi"})
        assert result.content[0].text == "done"
        assert stage.runs.asked[0].params["arguments"] == {"text": "hi"}


async def test_an_agent_finds_out_the_newer_revision_by_itself():
    async with serving() as stage, Client(stage.url) as client:
        assert client.protocol_version == "2026-07-28"
        assert (await client.call_tool("std__echo", {})).content[0].text == "done"


async def test_lists_are_private_to_who_asked():
    async with serving() as stage:
        result = (await stage.ask("tools/list")).json()["result"]
        assert (result["cacheScope"], result["ttlMs"]) == ("private", 0)


async def test_a_request_past_the_bound_is_refused_before_it_is_read():
    async with serving(settings=Settings(limits=Limits(max_body_bytes=2048))) as stage:
        refused = await stage.call("std__echo", {"text": "x" * 4096})
        assert refused.status_code == 413
        assert "2048 bytes" in refused.json()["error"]["message"]

        async def pieces():
            for _ in range(8):
                yield b" " * 1024

        response = await stage.client.post(stage.url, content=pieces(), headers=stage.headers("tools/call", "std__echo"))
        assert response.status_code == 413
        assert stage.audit.refusals == [("std__echo", Fault.TOO_LARGE)] * 2
        assert stage.meter.refusals == [Fault.TOO_LARGE] * 2
        assert not stage.runs.asked


@pytest.mark.parametrize(
    "changed",
    [{"mcp-name": "std__other"}, {"mcp-method": "tools/list"}, {"mcp-protocol-version": "2027-01-01"}],
)
async def test_headers_that_disagree_with_the_body_are_refused_in_the_protocols_words(changed):
    async with serving() as stage:
        response = await stage.call("std__echo", headers=changed)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == -32020
        assert not stage.runs.asked


async def test_an_argument_that_a_header_repeats_must_be_the_same_there():
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    async with serving([tool("echo", schema=schema)]) as stage:
        right = await stage.call("std__echo", {"region": "eu"}, headers={"mcp-param-region": "eu"})
        wrong = await stage.call("std__echo", {"region": "eu"}, headers={"mcp-param-region": "us"})
        assert right.status_code == 200
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, -32020)
        assert len(stage.runs.asked) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ('{"a": 1, "a": 2}', "`params.arguments.a` is given twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1e999}', "1e999"),
        ('{"a": "\\ud800"}', "half"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "nested deeper"),
    ],
)
async def test_arguments_that_readers_read_differently_are_told_to_the_model_and_audited(arguments, word):
    meta = '{"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}'
    params = f'{{"name": "std__echo", "arguments": {arguments}, "_meta": {meta}}}'
    body = f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {params}}}'
    async with serving() as stage:
        response = await stage.client.post(stage.url, content=body, headers=stage.headers("tools/call", "std__echo"))
        result = response.json()["result"]
        assert result["isError"] is True
        assert word in result["content"][0]["text"]
        assert stage.audit.refusals == [("std__echo", Fault.BAD_ARGUMENTS)]
        assert stage.meter.refusals == [Fault.BAD_ARGUMENTS]
        assert not stage.runs.asked


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b'{"jsonrpc": "2.0", "id": true, "method": "tools/call"}'])
async def test_a_body_that_is_no_request_is_refused_in_the_protocols_words(body):
    async with serving() as stage:
        response = await stage.client.post(stage.url, content=body, headers=stage.headers("tools/call", "std__echo"))
        assert response.status_code == 400
        assert response.json()["error"]["code"] in {-32700, -32600}


@pytest.mark.parametrize("depth", [900, 5_000, 500_000])
@pytest.mark.parametrize("is_modern", [True, False])
async def test_json_that_is_nested_beyond_reason_is_a_parse_error_and_nothing_is_logged_of_it(depth, is_modern, caplog):
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": ' + b"[" * depth + b"]" * depth + b"}"
    async with serving() as stage:
        headers = stage.headers("ping") if is_modern else {"accept": "application/json, text/event-stream"}
        response = await stage.client.post(stage.url, content=body, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (400, -32700)
        assert stage.meter.refusals == [Fault.BAD_ARGUMENTS]
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_fault_is_a_result_that_the_model_can_read():
    async def down(asked: Asked) -> JsonObject:
        raise ToolFault(Fault.UPSTREAM_DOWN, "The upstream is not connected.")

    async with serving() as stage:
        stage.runs.script = down
        result = (await stage.call("std__echo")).json()["result"]
        assert result["isError"] is True
        assert result["content"] == [{"type": "text", "text": "The upstream is not connected."}]


async def test_an_error_of_the_upstreams_protocol_is_relayed_as_one():
    async def refuse(asked: Asked) -> JsonObject:
        error = {"code": -32021, "message": "needs sampling", "data": {"requiredCapabilities": {"sampling": {}}}}
        raise ToolFault(Fault.UPSTREAM_REFUSED, "needs sampling", error)

    async with serving() as stage:
        stage.runs.script = refuse
        response = await stage.call("std__echo")
        assert response.status_code == 400
        assert response.json()["error"]["data"] == {"requiredCapabilities": {"sampling": {}}}


async def test_a_bug_behind_the_front_is_an_error_that_tells_nothing_of_it():
    async def fail(asked: Asked) -> JsonObject:
        raise RuntimeError("secret detail")

    async with serving() as stage:
        stage.runs.script = fail
        response = await stage.call("std__echo")
        assert response.json()["error"]["code"] == -32603
        assert "secret detail" not in response.text


async def test_progress_comes_as_a_stream_under_the_callers_own_token():
    async def progress(asked: Asked) -> JsonObject:
        assert asked.notify is not None
        await asked.notify("notifications/progress", {"progressToken": "theirs", "progress": 1, "message": "a\u200bb\x1b[31mc"})
        await asked.notify("notifications/message", {"level": "info", "data": "not asked for"})
        return dict(TEXT)

    async with serving() as stage:
        stage.runs.script = progress
        response = await stage.call("std__echo", progressToken="mine\u200b")
        events = [json.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")]
        assert response.headers["content-type"] == "text/event-stream"
        assert [event.get("method") for event in events] == ["notifications/progress", None]
        assert events[0]["params"] == {"progressToken": "mine\u200b", "progress": 1, "message": "abc"}
        assert events[1]["result"]["content"] == TEXT["content"]


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_notification_that_is_too_deep_or_too_large_is_dropped_and_the_call_goes_on(era):
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]

    async def tell(asked: Asked) -> JsonObject:
        for data in (deep, "x" * 70_000, "fine"):
            await asked.notify("notifications/message", {"level": "error", "data": data})
        return dict(TEXT)

    heard = []

    async def hear(params: Any) -> None:
        heard.append(params.data)

    async with serving() as stage:
        stage.runs.script = tell
        async with Client(stage.url, mode=era, logging_callback=hear) as client:
            meta = {"io.modelcontextprotocol/logLevel": "info"} if era == "auto" else None
            result = await client.call_tool("std__echo", {}, meta=meta)
        assert result.content[0].text == "done"
        assert stage.told.bounds.num_dropped == 2
    assert heard == ["fine"]


async def test_a_client_that_leaves_cancels_its_call():
    async def hang(asked: Asked) -> JsonObject:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving() as stage:
        stage.runs.script = hang
        call = asyncio.ensure_future(stage.call("std__echo"))
        await stage.runs.begun.wait()
        call.cancel()
        async with asyncio.timeout(5):
            await stage.runs.asked[0].ended.wait()


async def test_trace_context_goes_on_and_baggage_and_credentials_do_not():
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    async with serving() as stage:
        secret = {"authorization": "Bearer canary-token", "cookie": "canary=1"}
        meta = {"authorization": "Bearer canary-token", "com.x/credential": "canary", "baggage": "user=1"}
        await stage.call("std__echo", headers=secret, traceparent=trace, tracestate="v=1", **meta)
        await stage.call("std__echo", headers={"traceparent": trace})
        first, second = (asked.params["_meta"] for asked in stage.runs.asked)
        assert first == {"traceparent": trace, "tracestate": "v=1"}
        assert second == {"traceparent": trace}


@pytest.mark.parametrize("is_modern", [True, False])
async def test_a_call_that_outlasts_the_drain_has_a_result_that_says_so(is_modern, caplog):
    async def forever(asked: Asked) -> JsonObject:
        await asyncio.Event().wait()
        return dict(TEXT)

    settings = Settings(upstreams=(UpstreamSettings(name="std", command=("/bin/true",)),), front=Front(drain_timeout_s=0.05))
    async with httpx.AsyncClient(timeout=10) as client:
        async with serving(settings=settings) as stage:
            stage.runs.script = forever
            params: JsonObject = {"name": "std__echo", "arguments": {}}
            headers = stage.headers("tools/call", "std__echo")
            if is_modern:
                params["_meta"] = {RESERVED + "protocolVersion": REVISION, RESERVED + "clientCapabilities": {}}
            else:
                headers = {"accept": "application/json, text/event-stream"}
                hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
                body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
                opened = await client.post(stage.url, json=body, headers=headers)
                headers |= {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
            body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
            calling = asyncio.ensure_future(client.post(stage.url, json=body, headers=headers))
            await stage.runs.begun.wait()
        said = (await calling).text
    assert '"isError":true' in said
    assert "cut off" in said
    assert stage.runs.asked[0].ended.is_set()
    assert not [record for record in caplog.records if record.exc_info]
