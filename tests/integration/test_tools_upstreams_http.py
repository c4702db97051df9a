"""Upstreams over HTTP: what they are sent, where requests go, how they break, and that nobody else notices."""

import asyncio
import json
import resource

import pytest
from tests.integration.tools_scripted_endpoint import Endpoint
from tests.integration.tools_upstreams_world import World, running, scripted, turn

from turnwise.errors import SettingsError
from turnwise.tools_gateway.settings import Settings, TenantSettings, UpstreamSettings
from turnwise.tools_gateway.upstreams import State
from turnwise.tools_gateway.upstreams.connection import Unsent
from turnwise.tools_gateway.upstreams.exchange import Exchange
from turnwise.tools_gateway.values import Fault

ERAS = pytest.mark.parametrize("is_modern", [True, False], ids=["newer", "older"])


def web(endpoint, name="web", **more):
    return UpstreamSettings(name=name, url=endpoint.url, allow_private=True, **more)


def calls(endpoint):
    return [(headers, json.loads(body)) for _, _, headers, body in endpoint.seen if '"tools/call"' in body]


@ERAS
async def test_both_revisions_are_spoken(is_modern):
    async with Endpoint(is_modern=is_modern).serving() as endpoint, running(web(endpoint)) as world:
        assert await world.call("web", "echo", {"n": 1}) == {"n": 1}
        assert world.facts("web")[0].era == ("2026-07-28" if is_modern else "2025-11-25")


async def test_a_request_says_before_its_body_what_is_in_it():
    async with Endpoint().serving() as endpoint, running(web(endpoint)) as world:
        meta = {"traceparent": "00-11", "tracestate": "a=b", "baggage": "user=1"}
        params = {"arguments": {"region": "ærø", "n": 1}, "_meta": meta}
        await world.ask("web", "tools/call", {"name": "echo", **params}, capabilities={"elicitation": {}})
        ((headers, body),) = calls(endpoint)
    assert headers["mcp-protocol-version"] == "2026-07-28"
    assert headers["mcp-method"] == "tools/call"
    assert headers["mcp-name"] == "echo"
    assert headers["Mcp-Param-Region"] == "=?base64?w6Zyw7g=?="
    assert (headers["traceparent"], headers["tracestate"]) == ("00-11", "a=b")
    assert not [name for name in headers if "baggage" in name.lower()]
    assert "baggage" not in body["params"]["_meta"]
    assert body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {}}
    assert body["params"]["_meta"]["traceparent"] == "00-11"


async def test_a_tool_whose_header_fields_do_not_hold_is_left_out_in_the_newer_revision_only():
    async with (
        Endpoint().serving() as new,
        Endpoint(is_modern=False).serving() as old,
        running(web(new, "new"), web(old, "old")) as world,
    ):
        await world.up("new", "old")
        assert world.tools[world.credential("new")] == ["echo"]
        assert world.tools[world.credential("old")] == ["echo", "sloppy"]


async def test_only_the_operators_token_is_shown_and_each_tenants_to_nobody_else():
    environ = {"OWN": "canary-own", "ALICE": "canary-alice"}
    tenants = (TenantSettings(name="alice", bearer_env={"web": "ALICE"}), TenantSettings(name="bob"))
    async with Endpoint().serving() as endpoint:
        upstream = web(endpoint, bearer_env="OWN", headers={"X-Team": "tools"})
        async with running(upstream, environ=environ, tenants=tenants) as world:
            meta = {"authorization": "Bearer canary-caller", "traceparent": "00-11"}
            for tenant in ("alice", "bob"):
                await world.ask(
                    "web", "tools/call", {"name": "echo", "arguments": {"who": tenant}, "_meta": meta}, tenant=tenant
                )
        shown = {body["params"]["arguments"]["who"]: headers for headers, body in calls(endpoint)}
    assert shown["alice"]["Authorization"] == "Bearer canary-alice"
    assert shown["bob"]["Authorization"] == "Bearer canary-own"
    assert shown["bob"]["X-Team"] == "tools"
    assert not [headers for headers in shown.values() if "canary-caller" in str(headers) or "Cookie" in headers]


async def test_a_redirect_is_not_followed():
    async with Endpoint().serving() as endpoint, running(web(endpoint)) as world:
        fault = await world.fault("web", "redirect")
        assert fault.fault is Fault.UPSTREAM_BROKE
        assert {path for _, path, _, _ in endpoint.seen} == {"/mcp"}


async def test_a_name_that_leads_home_is_never_connected_to():
    async def look_up(host, port, family):
        asked.append(host)
        return ["127.0.0.1"]

    async def hear(message):
        raise AssertionError(message)

    asked = []
    async with Endpoint().serving() as endpoint:
        url = endpoint.url.replace("127.0.0.1", "tools.example.com")
        for allow_private in (False, True):
            exchange = Exchange(UpstreamSettings(name="web", url=url, allow_private=allow_private), "", look_up)
            ask = exchange.post(b'{"jsonrpc":"2.0","id":1,"method":"server/discover"}', {}, hear)
            if allow_private:
                await ask
                assert len(endpoint.seen) == 1
            else:
                with pytest.raises(Unsent, match="private"):
                    await ask
                assert endpoint.seen == []
            await exchange.aclose()
    assert asked == ["tools.example.com"] * 2


async def test_an_upstream_at_home_without_the_operators_word_stops_the_gateway():
    with pytest.raises(SettingsError, match="localhost is refused"):
        World(Settings(upstreams=(UpstreamSettings(name="web", url="http://localhost:8000/mcp"),)))


@pytest.mark.parametrize(
    ("tool", "fault", "words"),
    [
        ("forbid", Fault.UPSTREAM_REFUSED, "credential"),
        ("fail", Fault.UPSTREAM_BROKE, "503"),
        ("compress", Fault.UPSTREAM_BROKE, "encoding"),
        ("babble", Fault.UPSTREAM_BROKE, "no MCP"),
        ("drop", Fault.UPSTREAM_BROKE, "broke off"),
        ("declare_large", Fault.TOO_LARGE, "too large"),
        ("stop_short", Fault.UPSTREAM_BROKE, "without an answer"),
    ],
)
async def test_an_answer_that_is_none_is_a_fault_in_words(tool, fault, words):
    async with Endpoint().serving() as endpoint, running(web(endpoint)) as world:
        found = await world.fault("web", tool)
        assert found.fault is fault
        assert words in found.message
        assert "secret" not in found.message
        assert await world.until_called("web", "echo", {"n": 1}) == {"n": 1}


@pytest.mark.parametrize("tool", ["large", "large_event"])
async def test_a_result_of_a_gigabyte_is_refused_in_bounded_memory(tool):
    async with Endpoint().serving() as endpoint, running(web(endpoint)) as world:
        await world.up("web")
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert (await world.fault("web", tool)).fault is Fault.TOO_LARGE
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 96 * 1024


@pytest.mark.parametrize("tool", ["hang", "trickle", "flood", "flood_blank"])
async def test_an_answer_that_never_ends_ends_at_the_deadline_and_is_cancelled_upstream(tool):
    async with Endpoint().serving() as endpoint, running(web(endpoint)) as world:
        await world.up("web")
        assert (await world.fault("web", tool, within_s=0.1)).fault is Fault.DEADLINE
        async with asyncio.timeout(20):
            await endpoint.cancelled.wait()
        assert await world.call("web", "echo", {"n": 1}) == {"n": 1}


async def test_a_call_of_the_older_revision_that_nobody_waits_for_is_cancelled_by_word():
    async with Endpoint(is_modern=False).serving() as endpoint, running(web(endpoint)) as world:
        await world.up("web")
        await world.fault("web", "hang", within_s=0.1)
        while not [body for *_, body in endpoint.seen if "notifications/cancelled" in body]:
            await turn()


@ERAS
async def test_progress_comes_before_the_result(is_modern):
    told = []

    async def notify(method, params):
        told.append((method, params))

    async with Endpoint(is_modern=is_modern).serving() as endpoint, running(web(endpoint)) as world:
        assert await world.call("web", "report", notify=notify) == {"reported": True}
    assert told == [("notifications/progress", {"progress": 1})]


async def test_what_an_older_upstream_asks_is_answered_by_the_caller_it_asks_for():
    async def answer(method, params):
        return {"action": "accept", "asked": method}

    async with Endpoint(is_modern=False).serving() as endpoint, running(web(endpoint)) as world:
        able = {"name": "inquire", "arguments": {}}
        found = await world.ask("web", "tools/call", able, capabilities={"elicitation": {}}, answer=answer)
        assert found["heard"]["result"] == {"action": "accept", "asked": "elicitation/create"}
        assert (await world.call("web", "inquire"))["heard"]["error"]["code"] == -32601
        declared = [json.loads(body)["params"]["capabilities"] for *_, body in endpoint.seen if '"initialize"' in body]
        assert declared == [{}, {"elicitation": {}}]


async def test_a_session_that_the_upstream_forgot_is_begun_anew_and_the_call_goes_through():
    async with Endpoint(is_modern=False).serving() as endpoint, running(web(endpoint)) as world:
        await world.up("web")
        endpoint.sessions = {"another"}
        assert await world.call("web", "echo", {"n": 1}) == {"n": 1}
        assert world.facts("web")[0].num_dials == 2


async def test_a_session_of_an_older_upstream_is_ended_with_the_gateway():
    async with Endpoint(is_modern=False).serving() as endpoint:
        async with running(web(endpoint)) as world:
            await world.up("web")
        assert endpoint.num_ended == 1


async def test_an_upstream_that_goes_away_fails_at_once_touches_nobody_and_is_found_again():
    async with Endpoint().serving() as there:
        async with Endpoint().serving() as endpoint:
            gone, port = web(endpoint, "gone"), endpoint.port
        async with running(gone, web(there, "there"), scripted("program")) as world:
            assert (await world.fault("gone", "echo")).fault is Fault.UPSTREAM_DOWN
            assert world.facts("gone")[0].state is not State.UP
            for name in ("there", "program"):
                await world.up(name)
                assert await world.call(name, "echo", {"n": 1}) == {"n": 1}
            async with Endpoint().serving(port):
                await world.up("gone")
                assert await world.call("gone", "echo", {"n": 1}) == {"n": 1}


async def test_a_flood_is_read_slowly_and_touches_nobody():
    num_told = 0

    async def notify(method, params):
        nonlocal num_told
        num_told += 1

    async with Endpoint().serving() as endpoint, running(web(endpoint), scripted("one")) as world:
        await world.up("web", "one")
        flooded = asyncio.create_task(world.fault("web", "flood", within_s=0.5, notify=notify))
        while not flooded.done():
            assert await world.call("one", "echo", {"n": 1}) == {"n": 1}
        assert flooded.result().fault is Fault.DEADLINE
        assert 0 < num_told < 10_000
        assert endpoint.num_flooded < 32 * 1024 * 1024  # what sockets of loopback hold


@pytest.mark.parametrize("tool", ["whole", "whole_event"])
async def test_a_large_result_within_the_bound_comes_whole(tool):
    async with Endpoint().serving() as endpoint, running(web(endpoint)) as world:
        assert await world.call("web", tool) == {"text": "x" * 3_000_000}
        assert await world.call("web", "echo", {"n": 1}) == {"n": 1}


async def test_others_have_their_turn_between_two_notifications():
    num_turns, heard = 0, []

    async def notify(method, params):
        heard.append(num_turns)

    async def others():
        nonlocal num_turns
        while True:
            num_turns += 1
            await asyncio.sleep(0)

    async with Endpoint().serving() as endpoint, running(web(endpoint)) as world:
        beside = asyncio.create_task(others())
        assert await world.call("web", "gossip", notify=notify) == {}
        beside.cancel()
    assert len(heard) == len(set(heard)) == 100


async def test_connections_are_kept_between_calls():
    async with Endpoint().serving() as endpoint, running(web(endpoint)) as world:
        await world.up("web")
        exchange = next(iter(world.upstreams._owners))._connection._exchange
        for _ in range(20):
            await world.call("web", "echo")
            await world.call("web", "report", notify=_nobody)
        (kept,) = exchange._pool.connector._conns.values()
        assert len(kept) == 1


async def _nobody(method, params):
    pass
