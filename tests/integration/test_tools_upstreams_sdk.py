"""Upstreams as the SDK serves them, in both eras and over each of its transports."""

import asyncio
import socket
import sys

import pytest
from tests.integration.tools_upstreams_world import FAULTY, running, turn

from turnwise.tools_gateway.settings import UpstreamSettings
from turnwise.tools_gateway.values import Fault, ToolFault


@pytest.fixture
async def ports():
    """Ports behind which a server answers by JSON, and one by streams of events."""
    processes, ports = [], []
    for arguments in ((), ("--stream",)):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
        command = (sys.executable, "-P", FAULTY, "--port", str(ports[-1]), *arguments)
        quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
        processes.append(await asyncio.create_subprocess_exec(*command, **quiet))
    yield ports
    for process in processes:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("era", ["2026-07-28", "2025-11-25"])
async def test_servers_of_the_sdk_are_asked_over_each_transport(ports, era):
    told = []

    async def notify(method, params):
        told.append((method, params))

    urls = [f"http://127.0.0.1:{port}/mcp" for port in ports]
    upstreams = (
        UpstreamSettings(name="program", command=(sys.executable, "-P", FAULTY), era=era),
        UpstreamSettings(name="json", url=urls[0], allow_private=True, era=era),
        UpstreamSettings(name="events", url=urls[1], allow_private=True, era=era),
    )
    async with running(*upstreams) as world:
        await world.up("program", "json", "events")
        for upstream in upstreams:
            name, credential = upstream.name, world.credential(upstream.name)
            assert world.facts(name)[0].era == era
            result = await world.call(name, "echo", {"text": "hi"})
            assert result["structuredContent"] == {"result": "hi"}
            assert (await world.call(name, "no_such_tool"))["isError"]
            refusal = await refused(world, name, "no/such/method")
            assert refusal.error["code"] == -32601
            assert (await world.fault(name, "work", {"seconds": 600}, within_s=0.2)).fault is Fault.DEADLINE
            assert "grown" not in world.tools[credential]
            await world.call(name, "grow")
            while name != "json" and "grown" not in world.tools[credential]:
                await turn()
        told.clear()
        await world.call("events", "report", {"steps": 2}, notify=notify)
        await world.call("program", "report", {"steps": 2}, notify=notify)
    assert [params["progress"] for _, params in told] == [1, 2, 1, 2]


async def refused(world, name, method):
    with pytest.raises(ToolFault, match="refused") as caught:
        await world.ask(name, method, {})
    return caught.value
