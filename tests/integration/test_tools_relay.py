"""What MCP has beside tools, through the gateway to the upstream where it lives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.integration.tools_front import serving, tool
from tests.integration.tools_furnished import READ, TOOLS, furnish

from turnwise.tools_gateway.settings import Limits, Settings, UpstreamSettings
from turnwise.tools_gateway.values import Fault


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
