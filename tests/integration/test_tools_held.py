"""An upstream of the older revision that asks in the midst of a call, and a client of the newer that is asked in answers."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import pytest
from tests.integration.test_tools_serve import call
from tests.integration.test_tools_serve import serving as gateway
from tests.integration.tools_front import TEXT, Asked, FakeTokens, Stage, serving, tool

from turnwise.tools_gateway.server.client import Client
from turnwise.tools_gateway.server.held import Held, HeldCall
from turnwise.tools_gateway.values import JsonObject, Principal, ToolFault

ABLE = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
ACCEPT = {"action": "accept", "content": {"name": "Ann"}}


def elicit(message: str) -> JsonObject:
    return {"message": message, "requestedSchema": {"type": "object", "properties": {}}}


async def ask_twice(asked: Asked) -> JsonObject:
    """A tool that asks for two things, one after the other, and gives back what it was told."""
    assert asked.answer is not None
    given = [await asked.answer("elicitation/create", elicit(message)) for message in ("Who?", "Where?")]
    return {**TEXT, "structuredContent": {"given": given}}


async def go_on(stage: Stage, result: JsonObject, given: Any, **more: Any) -> JsonObject:
    """Make the call again with an answer to all that was asked."""
    params = {"name": "std__echo", "arguments": {}, "requestState": result["requestState"]}
    params["inputResponses"] = dict.fromkeys(result["inputRequests"], given)
    answer: JsonObject = (await stage.ask("tools/call", params, **(more or ABLE))).json()
    return answer.get("result") or answer["error"]


def asked_for(result: JsonObject) -> list[str]:
    assert result["resultType"] == "input_required"
    return [each["params"]["message"] for each in result["inputRequests"].values()]


async def test_each_question_is_an_answer_and_the_one_call_goes_on_with_what_the_client_brings():
    async with serving() as stage:
        stage.runs.script = ask_twice
        first = (await stage.call("std__echo", **ABLE)).json()["result"]
        assert asked_for(first) == ["Who?"]
        second = await go_on(stage, first, ACCEPT)
        assert asked_for(second) == ["Where?"]
        last = await go_on(stage, second, {"action": "decline"})
        assert last["structuredContent"] == {"given": [ACCEPT, {"action": "decline"}]}
        assert len(stage.runs.asked) == 1


async def test_a_client_that_brings_no_answer_is_asked_the_same_again():
    async with serving() as stage:
        stage.runs.script = ask_twice
        first = (await stage.call("std__echo", **ABLE)).json()["result"]
        again = await go_on(stage, {**first, "inputRequests": {"other": {}}}, ACCEPT)
        assert again["inputRequests"] == first["inputRequests"]
        assert asked_for(await go_on(stage, again, ACCEPT)) == ["Where?"]


async def test_an_answer_that_is_no_object_is_the_tools_to_hear_of():
    async with serving() as stage:
        stage.runs.script = ask_twice
        first = (await stage.call("std__echo", **ABLE)).json()["result"]
        result = await go_on(stage, first, "yes")
        assert result["isError"] is True
        assert "no MCP" in result["content"][0]["text"]


async def test_a_held_call_is_gone_on_with_once_and_by_its_tenant_alone():
    tokens = FakeTokens({"a": Principal("ann"), "b": Principal("bob")})
    as_ann, as_bob = ({"authorization": f"Bearer {token}"} for token in ("a", "b"))
    async with serving([tool("echo")], tokens=tokens) as stage:
        stage.runs.script = ask_twice
        first = (await stage.call("std__echo", headers=as_ann, **ABLE)).json()["result"]
        assert (await go_on(stage, first, ACCEPT, headers=as_bob, **ABLE))["code"] == -32602
        assert asked_for(await go_on(stage, first, ACCEPT, headers=as_ann, **ABLE)) == ["Where?"]
        assert (await go_on(stage, first, ACCEPT, headers=as_ann, **ABLE))["code"] == -32602


async def test_a_client_that_can_be_asked_nothing_leaves_the_upstream_without_anybody_to_ask():
    async with serving() as stage:
        await stage.call("std__echo")
        assert stage.runs.asked[0].answer is None


async def test_what_a_client_did_not_declare_is_refused_in_the_midst_of_a_call_too():
    async def ask(asked: Asked) -> JsonObject:
        assert asked.answer is not None
        return await asked.answer("sampling/createMessage", {})

    async with serving() as stage:
        stage.runs.script = ask
        result = (await stage.call("std__echo", **ABLE)).json()["result"]
        assert "sampling/createMessage" in result["content"][0]["text"]


async def test_a_client_that_leaves_while_its_call_goes_on_cancels_it():
    async def hang(asked: Asked) -> JsonObject:
        assert asked.answer is not None
        await asked.answer("elicitation/create", elicit("Who?"))
        goes_on.set()
        await asyncio.Event().wait()
        raise AssertionError

    goes_on = asyncio.Event()
    async with serving() as stage, asyncio.timeout(10):
        stage.runs.script = hang
        first = (await stage.call("std__echo", **ABLE)).json()["result"]
        second = asyncio.ensure_future(go_on(stage, first, ACCEPT))
        await goes_on.wait()
        second.cancel()
        await stage.runs.asked[0].ended.wait()


async def test_a_call_whose_client_never_comes_back_is_cancelled_with_the_gateway():
    async with serving() as stage:
        stage.runs.script = ask_twice
        await stage.call("std__echo", **ABLE)
        assert not stage.runs.asked[0].ended.is_set()
    assert stage.runs.asked[0].ended.is_set()


async def test_a_call_is_held_no_longer_than_its_bound():
    ended = asyncio.Event()

    async def begin(notify: Any, answer: Any) -> JsonObject:
        try:
            return await answer("elicitation/create", elicit("Who?"))
        finally:
            ended.set()

    async def nothing(*_: Any) -> None:
        raise AssertionError

    client = Client(Principal(""), {"elicitation": {}}, {}, nothing)
    held = Held(hold_s=0.0)
    call = HeldCall(client, begin)
    assert asked_for(await call.go_on(client, {})) == ["Who?"]
    word = held.put(call)
    async with asyncio.timeout(10):
        await ended.wait()
    assert held.take(word) is None
    with pytest.raises(ToolFault):
        await call.go_on(client, {})


ELICITING = """
import json, os, sys

def say(message):
    os.write(1, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\\n")

waiting = None
for line in sys.stdin:
    message = json.loads(line)
    number, method = message.get("id"), message.get("method")
    if method == "initialize":
        say({"id": number, "result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}})
    elif method == "tools/list":
        say({"id": number, "result": {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}})
    elif method == "tools/call":
        waiting = number
        asked = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}
        say({"id": "q", "method": "elicitation/create", "params": asked})
    elif number == "q":
        said = json.dumps(message.get("result") or message["error"])
        say({"id": waiting, "result": {"content": [{"type": "text", "text": said}]}})
    elif number is not None:
        say({"id": number, "error": {"code": -32601, "message": "no such method"}})
"""


def test_a_program_of_the_older_revision_has_its_answer_from_a_client_of_the_newer(tmp_path):
    program = tmp_path / "eliciting.py"
    program.write_text(ELICITING)
    command = json.dumps([sys.executable, str(program)])
    text = f'[front]\nport = 0\nadmin_port = 0\n[[upstreams]]\nname = "old"\ncommand = {command}\ntrusted = true\n'
    with gateway(tmp_path, text) as (process, addresses):
        while httpx.get(addresses["admin_url"] + "/ready").status_code != 200:
            assert process.poll() is None
        first = call(addresses["url"], "old__ask", {}, ABLE)
        assert asked_for(first) == ["Who?"]
        more = {"requestState": first["requestState"], "inputResponses": dict.fromkeys(first["inputRequests"], ACCEPT)}
        last = call(addresses["url"], "old__ask", {}, ABLE, **more)
        assert json.loads(last["content"][0]["text"]) == ACCEPT
        alone = call(addresses["url"], "old__ask", {})
        assert "-32" in alone["content"][0]["text"]
