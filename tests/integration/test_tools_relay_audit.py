"""What is asked for beside tools is written into the audit as calls of tools are."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.integration.tools_front import serving
from tests.integration.tools_furnished import TOOLS, furnish

from turnwise.tools_gateway.values import Fate, Fault


async def test_what_is_asked_beside_tools_is_written_down_with_what_came_of_it():
    async with serving(TOOLS) as stage:
        furnish(stage)
        await stage.ask("prompts/get", {"name": "b__hello", "arguments": {"who": "me"}})
        await stage.ask("resources/read", {"uri": "x://1"})
        ref, argument = {"type": "ref/prompt", "name": "a__hello"}, {"name": "who", "value": "m"}
        await stage.ask("completion/complete", {"ref": ref, "argument": argument})
        del stage.upstreams.answers["a", "prompts/get"]
        await stage.ask("prompts/get", {"name": "a__hello"})
        prompt = ["_meta", "description", "messages"]
        assert stage.audit.asked == [
            [
                "prompts/get",
                "b",
                "b__hello",
                {"arguments": {"who": "me"}},
                (Fate.SUCCESS, None, prompt),
            ],
            ["resources/read", "b", "x://1", {}, (Fate.SUCCESS, None, ["_meta", "cacheScope", "contents", "ttlMs"])],
            ["completion/complete", "a", "a__hello", {"argument": argument}, (Fate.SUCCESS, None, ["_meta", "completion"])],
            ["prompts/get", "a", "a__hello", {}, (Fate.FAULT, Fault.UPSTREAM_DOWN, None)],
        ]


async def test_what_is_only_read_is_had_though_the_audit_cannot_be_written():
    async with serving(TOOLS) as stage:
        furnish(stage)
        stage.audit.can_write = False
        assert "result" in (await stage.ask("resources/read", {"uri": "x://1"})).json()


async def test_a_read_whose_client_leaves_is_written_as_cancelled():
    async with serving(TOOLS) as stage:
        furnish(stage)
        begun, never = asyncio.Event(), asyncio.Event()

        async def hang(_params: Any) -> Any:
            begun.set()
            await never.wait()

        stage.upstreams.answers["b", "resources/read"] = hang
        reading = asyncio.create_task(stage.ask("resources/read", {"uri": "x://1"}))
        await begun.wait()
        reading.cancel()
        await stage.audit.has_ended.wait()
        assert stage.audit.asked[0][4] == (Fate.CANCELLED, Fault.CANCELLED, None)
