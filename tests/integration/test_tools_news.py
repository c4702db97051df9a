"""What upstreams tell outside of requests reaches those who listen for it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from mcp import Client
from mcp_types import EmptyResult, SubscribeRequest, SubscribeRequestParams, UnsubscribeRequest, UnsubscribeRequestParams
from tests.integration.tools_front import FakeTokens, serving, tool
from tests.integration.tools_furnished import furnish

from turnwise.tools_gateway.values import Credential, Principal, UpstreamName


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
