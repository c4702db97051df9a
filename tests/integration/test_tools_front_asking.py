"""What an upstream wants of the client of a call, in both revisions."""

from __future__ import annotations

import json

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult
from tests.integration.tools_front import TEXT, Asked, FakeTokens, serving, tool

from turnwise.tools_gateway.ports import Answer
from turnwise.tools_gateway.values import JsonObject, Principal, ToolFault

ELICIT = {
    "method": "elicitation/create",
    "params": {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}},
}


async def test_what_an_upstream_wants_first_is_relayed_with_a_state_that_only_this_caller_may_bring_back():
    async def ask_first(asked: Asked) -> JsonObject:
        if asked.caller.request_state == "upstream's own":
            return dict(TEXT)
        return {"resultType": "input_required", "inputRequests": {"who": ELICIT}, "requestState": "upstream's own"}

    both = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    tokens = FakeTokens({"a": Principal("ann"), "b": Principal("bob")})
    as_ann, as_bob = ({"authorization": f"Bearer {token}"} for token in ("a", "b"))
    async with serving([tool("echo"), tool("other")], tokens=tokens) as stage:
        stage.runs.script = ask_first
        asked = (await stage.call("std__echo", headers=as_ann, **both)).json()["result"]
        assert asked["inputRequests"] == {"who": ELICIT}
        state = asked["requestState"]
        assert state != "upstream's own"
        again = {"arguments": {}, "requestState": state, "inputResponses": {"who": {"action": "decline"}}}
        for name, who, sealed in (
            ("std__other", as_ann, state),
            ("std__echo", as_bob, state),
            ("std__echo", as_ann, state[:-4] + "AAA="),
        ):
            sent = {**again, "name": name, "requestState": sealed}
            error = (await stage.ask("tools/call", sent, headers=who, **both)).json()["error"]
            assert error["code"] == -32602
            assert "started anew" in error["message"]
        answered = (await stage.ask("tools/call", {**again, "name": "std__echo"}, headers=as_ann, **both)).json()["result"]
        assert answered["content"] == TEXT["content"]
        assert stage.runs.asked[-1].caller.input_responses == {"who": {"action": "decline"}}


async def test_what_a_client_did_not_declare_is_not_asked_of_it():
    async def ask_first(asked: Asked) -> JsonObject:
        return {"resultType": "input_required", "inputRequests": {"who": ELICIT}}

    async with serving() as stage:
        stage.runs.script = ask_first
        result = (await stage.call("std__echo")).json()["result"]
        assert result["isError"] is True
        assert "elicitation/create" in result["content"][0]["text"]


async def test_a_client_of_the_older_revision_is_asked_in_its_own_way():
    async def ask_first(asked: Asked) -> JsonObject:
        if asked.caller.input_responses is not None:
            return {"content": [{"type": "text", "text": json.dumps(asked.caller.input_responses)}]}
        return {"resultType": "input_required", "inputRequests": {"who": ELICIT}, "requestState": "s"}

    async def accept(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ann"})

    async with serving() as stage, Client(stage.url, mode="legacy", elicitation_callback=accept) as client:
        stage.runs.script = ask_first
        result = await client.call_tool("std__echo", {})
        assert json.loads(result.content[0].text) == {"who": {"action": "accept", "content": {"name": "Ann"}}}
        assert stage.runs.asked[-1].caller.request_state == "s"


async def test_an_upstream_of_the_older_revision_asks_through_to_the_client_that_declared_it():
    async def ask(asked: Asked) -> JsonObject:
        answer: Answer | None = asked.answer
        assert answer is not None
        given = await answer(ELICIT["method"], ELICIT["params"])
        with pytest.raises(ToolFault):
            await answer("sampling/createMessage", {})
        return {"content": [{"type": "text", "text": json.dumps(given)}]}

    async def decline(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="decline")

    async with serving() as stage, Client(stage.url, mode="legacy", elicitation_callback=decline) as client:
        stage.runs.script = ask
        result = await client.call_tool("std__echo", {})
        assert json.loads(result.content[0].text) == {"action": "decline"}
