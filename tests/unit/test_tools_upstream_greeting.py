import asyncio

import pytest

from turnwise.tools_gateway.upstreams.greeting import greet
from turnwise.tools_gateway.upstreams.jsonrpc import LEGACY, MODERN
from turnwise.tools_gateway.values import Fault, ToolFault


def server(**answers):
    """Answers by method, and what it was asked."""
    asked = []

    async def say(method, params, version):
        asked.append((method, version))
        answer = answers[method.replace("/", "_")]
        answer = answer.pop(0) if isinstance(answer, list) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    return say, asked


def refused(code=-32601):
    return ToolFault(Fault.UPSTREAM_REFUSED, "no", {"code": code, "message": "no"})


DISCOVERED = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}}
INITIALIZED = {"protocolVersion": LEGACY, "capabilities": {}}


async def test_a_server_that_discovers_is_spoken_to_in_the_newer_revision():
    say, asked = server(server_discover=DISCOVERED)
    greeting = await greet(say, "auto", {}, 20.0)
    assert (greeting.version, greeting.capabilities) == (MODERN, {"tools": {}})
    assert asked == [("server/discover", MODERN)]


@pytest.mark.parametrize("answer", [refused(), refused(-32022), {"supportedVersions": [LEGACY]}, {}, {"supportedVersions": 7}])
async def test_a_server_that_does_not_offer_the_newer_revision_is_shaken_hands_with(answer):
    say, asked = server(server_discover=answer, initialize=INITIALIZED)
    greeting = await greet(say, "auto", {}, 20.0)
    assert greeting.version == LEGACY
    assert [method for method, _ in asked] == ["server/discover", "initialize"]


async def test_an_outage_is_no_word_about_the_revision():
    say, asked = server(server_discover=ToolFault(Fault.UPSTREAM_BROKE, "gone"))
    with pytest.raises(ToolFault, match="gone"):
        await greet(say, "auto", {}, 20.0)
    assert len(asked) == 1


async def test_a_handshake_refused_for_the_newer_revision_asks_again():
    say, asked = server(server_discover=[refused(), DISCOVERED], initialize=refused(-32022))
    assert (await greet(say, "auto", {}, 20.0)).version == MODERN
    assert len(asked) == 3


@pytest.mark.parametrize("version", ["1999-01-01", MODERN, None, 7])
async def test_a_handshake_in_a_revision_that_nobody_shakes_hands_in_is_refused(version):
    say, _ = server(initialize={"protocolVersion": version})
    with pytest.raises(ToolFault, match="does not"):
        await greet(say, LEGACY, {}, 20.0)


async def test_a_revision_that_the_operator_names_is_not_asked_for():
    say, asked = server(initialize=INITIALIZED)
    await greet(say, LEGACY, {}, 20.0)
    assert asked == [("initialize", LEGACY)]


async def test_a_program_that_does_not_answer_what_it_does_not_know_is_shaken_hands_with():
    say, asked = server(initialize=INITIALIZED)

    async def silent(method, params, version):
        if method == "server/discover":
            asked.append((method, version))
            await asyncio.Event().wait()
        return await say(method, params, version)

    assert (await greet(silent, "auto", {}, 0.0)).version == LEGACY


@pytest.mark.parametrize("turns", range(5))
async def test_whoever_is_cancelled_as_the_answer_comes_is_cancelled(turns):
    answer = asyncio.get_running_loop().create_future()

    async def say(method, params, version):
        return await answer

    greeting = asyncio.create_task(greet(say, "auto", {}, 20.0))
    for _ in range(3):
        await asyncio.sleep(0)
    answer.set_result(DISCOVERED)
    for _ in range(turns):
        await asyncio.sleep(0)
    was_running = greeting.cancel()
    await asyncio.wait((greeting,))
    assert greeting.cancelled() is was_running
