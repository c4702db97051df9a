"""Who may enter, from where, and how much of what all share each one may hold."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.integration.tools_front import FakeTokens, serving

from turnwise.tools_gateway.settings import Auth, Limits, Settings, TenantSettings
from turnwise.tools_gateway.values import Principal


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("host", "evil.example", 421),
        ("host", "localhost", 421),
        ("origin", "https://evil.example", 403),
        ("origin", "http://localhost.evil.example", 403),
        ("origin", "null", 403),
    ],
)
async def test_a_request_under_a_strange_name_or_of_a_strange_page_is_refused(header, value, status):
    async with serving() as stage:
        response = await stage.call("std__echo", headers={header: value})
        assert response.status_code == status
        assert not stage.runs.asked


@pytest.mark.parametrize("name", ["host", "authorization", "origin"])
async def test_a_request_that_says_twice_where_it_goes_or_who_asks_is_refused(name):
    tokens = FakeTokens({"a": Principal("ann")})
    right = {"host": "127.0.0.1:1", "authorization": "Bearer a", "origin": "http://localhost"}
    async with serving(tokens=tokens) as stage:
        lines = [f"{key}: {value}" for key, value in [*right.items(), (name, right[name])]]
        address = httpx.URL(stage.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write("\r\n".join(["POST /mcp HTTP/1.1", *lines, "connection: close", "content-length: 0", "", ""]).encode())
        async with asyncio.timeout(5):
            refused = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert refused.startswith(b"HTTP/1.1 400 ")
        assert name in refused.decode().lower()


@pytest.mark.parametrize("header", [{"host": "localhost:9"}, {"host": "[::1]:9"}, {"origin": "http://127.0.0.1:5173"}])
async def test_loopback_names_and_pages_of_this_machine_are_served(header):
    async with serving() as stage:
        assert (await stage.call("std__echo", headers=header)).status_code == 200


async def test_without_a_token_nobody_enters_where_tokens_are_asked_for():
    auth = Auth(issuer="https://issuer.example", audience="https://tools.example/mcp", scopes={"std__*": "tools"})
    tokens = FakeTokens({"good": Principal("ann", frozenset({"tools"}))})
    async with serving(settings=Settings(auth=auth), tokens=tokens) as stage:
        for headers in ({}, {"authorization": "Bearer bad"}, {"authorization": "Basic good"}):
            response = await stage.call("std__echo", headers=headers)
            assert response.status_code == 401
            where = "https://tools.example/.well-known/oauth-protected-resource/mcp"
            assert response.headers["www-authenticate"] == f'Bearer resource_metadata="{where}"'
        document = await stage.client.get(httpx.URL(stage.url).copy_with(path="/.well-known/oauth-protected-resource/mcp"))
        assert document.json()["authorization_servers"] == ["https://issuer.example"]
        assert document.json()["resource"] == "https://tools.example/mcp"
        assert (await stage.call("std__echo", headers={"authorization": "Bearer good"})).status_code == 200
        assert stage.runs.asked[0].what == (Principal("ann", frozenset({"tools"})), "std__echo")


async def test_no_tenant_holds_more_than_its_share_of_the_sessions_of_the_older_revision():
    tokens = FakeTokens({"a": Principal("ann"), "b": Principal("bob")})
    tenants = (TenantSettings(name="ann"), TenantSettings(name="bob"))
    async with serving(tokens=tokens, settings=Settings(tenants=tenants, limits=Limits(max_sessions=5))) as stage:
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        statuses = [
            (
                await stage.client.post(
                    stage.url,
                    json=body,
                    headers={"accept": "application/json, text/event-stream", "authorization": f"Bearer {token}"},
                )
            ).status_code
            for token in "aaab"
        ]
        assert statuses == [200, 200, 503, 200]


async def test_a_session_of_the_older_revision_serves_only_the_tenant_that_opened_it():
    tokens = FakeTokens({"a": Principal("ann"), "b": Principal("bob")})
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    async with serving(tokens=tokens) as stage:
        headers = {"accept": "application/json, text/event-stream", "authorization": "Bearer a"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        opened = await stage.client.post(stage.url, json=body, headers=headers)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert (await stage.client.post(stage.url, json=ping, headers={**headers, **session})).status_code == 200
        other = {**headers, **session, "authorization": "Bearer b"}
        assert (await stage.client.post(stage.url, json=ping, headers=other)).status_code == 404
