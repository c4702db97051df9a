"""Servers that others wrote, through the gateway and without it: the same tools, the same results, the same errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mcp import Client, StdioServerParameters
from tests.tools.stage import (
    CANARY,
    PATIENCE_S,
    Gateway,
    ToolServers,
    Web,
    approve,
    operators_file,
    process,
    serving,
    tools_of,
    wait_until,
)

pytestmark = pytest.mark.tools
ERAS = ["2026-07-28", "legacy"]
SERVERS = ["time", "git", "fetch", "files", "node", "sdk", "web"]
"""As they stand behind the gateway; `web` is the SDK's over HTTP, `sdk` the same over stdio."""
MAX_NAME = 64


@pytest.fixture(scope="module")
def everything_url(tool_servers: ToolServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The SDK's everything-server over HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = tool_servers.module("mcp_everything_server", "--port", str(port))
    log = tmp_path_factory.mktemp("everything") / "log"
    with process(command, log, os.environ):
        wait_until(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.fixture(scope="module")
def gateway(
    tool_servers: ToolServers, workplace: Path, everything_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """All servers behind one gateway."""
    upstreams: dict[str, list[str] | str] = {**tool_servers.all_stdio(workplace), "web": everything_url}
    with serving(tmp_path_factory.mktemp("gateway"), operators_file(upstreams)) as running:
        yield running


@contextlib.asynccontextmanager
async def direct(name: str, tool_servers: ToolServers, workplace: Path, url: str) -> AsyncIterator[Client]:
    """A client of one server, without the gateway."""
    if name == "web":
        async with Client(url) as client:
            yield client
        return
    program, *arguments = tool_servers.all_stdio(workplace)[name]
    parameters = StdioServerParameters(command=program, args=arguments, env={"PATH": os.environ["PATH"]})
    async with Client(parameters) as client:
        yield client


def calls(workplace: Path, web: Web) -> list[tuple[str, str, dict[str, Any]]]:
    """Calls whose result is the same each time, by server."""
    repo, page = {"repo_path": str(workplace)}, f"{web.url}/lamps"
    noon = {"source_timezone": "Asia/Tokyo", "time": "12:00", "target_timezone": "Asia/Kolkata"}
    return [
        ("time", "convert_time", noon),
        ("time", "convert_time", noon | {"time": "noon"}),
        ("git", "git_log", repo),
        ("git", "git_diff_unstaged", repo | {"context_lines": 1}),
        ("git", "git_show", repo | {"revision": "nowhere"}),
        ("fetch", "fetch", {"url": page}),
        ("fetch", "fetch", {"url": page, "raw": True, "max_length": 10}),
        ("files", "read_text_file", {"path": str(workplace / "lamps.txt")}),
        ("files", "read_text_file", {"path": str(workplace / "lamps.txt"), "head": 1}),
        ("files", "read_text_file", {"path": str(workplace.parent / "secret.txt")}),
        ("files", "directory_tree", {"path": str(workplace), "excludePatterns": [".git"]}),
        ("node", "echo", {"message": "nine lamps \N{ELECTRIC LIGHT BULB}"}),
        ("node", "get-sum", {"a": 4, "b": 5.5}),
        ("node", "get-structured-content", {"location": "Chicago"}),
        ("node", "get-tiny-image", {}),
        ("node", "get-resource-links", {"count": 2}),
        *(
            (name, tool, {})
            for name in ("sdk", "web")
            for tool in ("test_simple_text", "test_image_content", "test_multiple_content_types", "test_error_handling")
        ),
    ]


def plain(result: Any) -> dict[str, Any]:
    """A result as JSON, without `_meta`: there the gateway says whence it is."""
    said: dict[str, Any] = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return {name: value for name, value in said.items() if name in {"content", "structuredContent", "isError"}}


@pytest.mark.parametrize("era", ERAS)
async def test_every_tool_of_every_server_is_offered_under_its_upstreams_name(
    era: str, gateway: Gateway, tool_servers: ToolServers, workplace: Path, everything_url: str
) -> None:
    async with Client(gateway.url, mode=era) as client:
        offered = {tool.name: tool for tool in (await client.list_tools()).tools}
        again = [tool.name for tool in (await client.list_tools()).tools]
    assert again == list(offered)
    assert all(len(name) <= MAX_NAME for name in offered)
    expected: set[str] = set()
    for name in SERVERS:
        async with direct(name, tool_servers, workplace, everything_url) as client:
            for tool in (await client.list_tools()).tools:
                there = offered[f"{name}__{tool.name}"]
                assert there.input_schema == tool.input_schema
                assert there.annotations == tool.annotations
                expected.add(there.name)
    assert set(offered) == expected


@pytest.mark.parametrize("era", ERAS)
async def test_results_and_errors_are_those_of_the_server_itself(
    era: str, gateway: Gateway, tool_servers: ToolServers, workplace: Path, everything_url: str, web: Web
) -> None:
    async with Client(gateway.url, mode=era) as client:
        there = [plain(await client.call_tool(f"{name}__{tool}", given)) for name, tool, given in calls(workplace, web)]
    here = []
    async with contextlib.AsyncExitStack() as stack:
        for name in SERVERS:
            client = await stack.enter_async_context(direct(name, tool_servers, workplace, everything_url))
            here += [
                plain(await client.call_tool(tool, given)) for server, tool, given in calls(workplace, web) if server == name
            ]
    assert there == here
    assert [result["isError"] for result in here].count(True) == 5


@pytest.mark.parametrize("era", ERAS)
async def test_what_cannot_be_called_is_an_error_that_names_it(era: str, gateway: Gateway, workplace: Path) -> None:
    async with Client(gateway.url, mode=era) as client:
        unknown = await client.call_tool("time__stop", {})
        wrong = await client.call_tool("git__git_log", {"repo_path": str(workplace), "max_count": "many"})
        missing = await client.call_tool("files__read_text_file", {})
    assert unknown.is_error
    assert "time__stop" in str(unknown.content)
    assert wrong.is_error
    assert "max_count" in str(wrong.content)
    assert missing.is_error
    assert "path" in str(missing.content)


async def test_a_server_sees_nothing_of_the_gateways_environment(gateway: Gateway) -> None:
    async with Client(gateway.url) as client:
        result = await client.call_tool("node__get-env", {})
    assert not result.is_error
    (text,) = result.content
    environment = msgspec.json.decode(text.text)
    assert CANARY not in environment.values()
    assert environment["HOME"] != os.environ["HOME"]
    assert environment.keys() <= {"HOME", "LANG", "PATH", "TMPDIR"}, environment.keys()


async def test_tools_are_offered_and_called_once_somebody_has_approved_them(tool_servers: ToolServers, tmp_path: Path) -> None:
    state = f'[trust]\nstate_dir = "{tmp_path}/state"\n'
    time = {"time": tool_servers.all_stdio(tmp_path)["time"]}
    utc = {"timezone": "UTC"}
    with serving(tmp_path, operators_file(time, more=state, trusted=False)) as gateway:
        async with Client(gateway.url) as client:
            assert not (await client.list_tools()).tools
            refused = await client.call_tool("time__get_current_time", utc)
            assert refused.is_error
            assert "approve" in str(refused.content)
            approve(gateway, "time__get_current_time")
            wait_until(lambda: _states(gateway) == {"time__get_current_time": "ready", "time__convert_time": "quarantined"})
        async with Client(gateway.url) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["time__get_current_time"]
            assert not (await client.call_tool("time__get_current_time", utc)).is_error
            assert (await client.call_tool("time__convert_time", {})).is_error


async def test_a_server_that_is_killed_comes_back_and_no_other_notices(
    tool_servers: ToolServers, workplace: Path, tmp_path: Path
) -> None:
    stdio = tool_servers.all_stdio(workplace)
    with serving(tmp_path, operators_file({name: stdio[name] for name in ("time", "git")})) as gateway:
        async with Client(gateway.url) as client:
            assert not (await client.call_tool("time__get_current_time", {"timezone": "UTC"})).is_error
            killed = _child(gateway.pid, "mcp_server_time")
            os.kill(killed, signal.SIGKILL)
            assert not (await client.call_tool("git__git_log", {"repo_path": str(workplace)})).is_error
            async with asyncio.timeout(PATIENCE_S):
                while (await client.call_tool("time__get_current_time", {"timezone": "UTC"})).is_error:
                    assert not (await client.call_tool("git__git_log", {"repo_path": str(workplace)})).is_error
            assert _child(gateway.pid, "mcp_server_time") != killed
        left = _children(gateway.pid)
    assert not [pid for pid in left if _is_alive(pid)]


def _states(gateway: Gateway) -> dict[str, str]:
    return {tool["name"]: tool["state"] for tool in tools_of(gateway.admin_url)}


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _children(pid: int) -> list[int]:
    """All processes that one has started, and those that they have."""
    told = Path(f"/proc/{pid}/task").glob("*/children")
    started = [int(child) for path in told for child in path.read_text().split()]
    return [*started, *(further for child in started for further in _children(child))]


def _child(pid: int, word: str) -> int:
    """The process that a gateway has started whose command holds `word`."""
    found = [child for child in _children(pid) if word.encode() in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(found) == 1, found
    return found[0]
