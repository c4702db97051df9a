"""`turnwise tools serve` as a process: what it says when it cannot start, and that nothing of it is left when it ends."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.tools_front import RESERVED, REVISION

from turnwise.proxy.commands import main
from turnwise.tools_gateway.values import JsonObject

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
COMMAND = [sys.executable, "-m", "turnwise.proxy", "tools", "serve"]
ECHO = f"""
[[upstreams]]
name = "echo"
command = {json.dumps([sys.executable, "-m", "bench.tools.echo", "stdio"])}
cwd = "{ROOT}"
trusted = true
"""


@contextlib.contextmanager
def serving(folder: Path, text: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A gateway that runs, and where it listens."""
    file = folder / "tools.toml"
    file.write_text(text)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "--config", str(file), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        # A gateway that says nothing must not keep the test waiting for its line.
        watch = threading.Timer(PATIENCE_S, process.kill)
        watch.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            yield process, json.loads(line)
        finally:
            watch.cancel()
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def call(url: str, tool: str, arguments: JsonObject, meta: JsonObject | None = None, **more: Any) -> JsonObject:
    envelope = {RESERVED + "protocolVersion": REVISION, RESERVED + "clientCapabilities": {}, **(meta or {})}
    params = {"name": tool, "arguments": arguments, "_meta": envelope, **more}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": REVISION,
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    result: JsonObject = httpx.post(url, json=body, headers=headers, timeout=PATIENCE_S).json()["result"]
    return result


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_says_that_it_is_ready_and_leaves_nothing_behind(tmp_path, number):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    link = tmp_path / "link"
    front = f'[front]\nport = 0\nadmin_port = 0\nsocket = "{link}"\n[trust]\nstate_dir = "{state}"\n'
    with serving(tmp_path, front + ECHO) as (process, addresses):
        while httpx.get(addresses["admin_url"] + "/ready").status_code != 200:
            assert process.poll() is None
        result = call(addresses["url"], "echo__echo", {"text": "hi"})
        assert result["content"] == [{"type": "text", "text": "hi"}]
        refused = call(addresses["url"], "echo__echo", {"text": 1})
        assert refused["isError"] is True
        assert "text" in str(refused["content"])
        unknown = call(addresses["url"], "echo__other", {})
        assert unknown["isError"] is True
        tools = httpx.get(addresses["admin_url"] + "/tools").json()["tools"]
        assert [tool["name"] for tool in tools] == ["echo__echo"]
        assert addresses["socket"] == str(link)
        assert link.is_socket()
        started = children(process.pid)
        assert started
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()
    assert not link.exists()
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert any(state.iterdir())


def test_a_port_that_is_taken_is_named(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "tools.toml"
        file.write_text(f"[front]\nport = {port}\nadmin_port = 0\n" + ECHO)
        assert main(["tools", "serve", "--config", str(file)]) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["no place for a folder", "a file", "too long", "in use"])
def test_a_socket_that_cannot_be_made_is_named_in_one_line(tmp_path, capsys, what):
    file = tmp_path / "tools.toml"
    place = {"no place for a folder": file / "none" / "s", "too long": tmp_path / ("s" * 120)}.get(what, tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as other:
        if what == "a file":
            place.write_text("")
        elif what == "in use":
            other.bind(str(place))
            other.listen()
        file.write_text(f'[front]\nport = 0\nadmin_port = 0\nsocket = "{place}"\n' + ECHO)
        assert main(["tools", "serve", "--config", str(file)]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if "front.socket" in line and str(place) in line] == said.splitlines()[-1:]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[front]\nprot = 1\n", ["tools.toml", "front.prot"]),
        ("[front]\nport = 70000\n", ["tools.toml", "front.port"]),
        ('[front]\nhost = "0.0.0.0"\n' + ECHO, ["front.host", "token_sha256"]),
        ("", ["[[upstreams]]"]),
    ],
)
def test_a_file_that_cannot_be_meant_names_what_is_wrong(tmp_path, capsys, text, words):
    file = tmp_path / "tools.toml"
    file.write_text(text)
    assert main(["tools", "serve", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said


def test_a_setting_of_the_command_line_stands_over_the_file(tmp_path):
    with serving(tmp_path, "[front]\nport = 1\nadmin_port = 0\n" + ECHO, "--set", "front.port=0") as (_, addresses):
        assert not addresses["url"].endswith(":1/mcp")


def test_the_proxys_command_line_loads_no_mcp():
    loaded = "[name for name in sys.modules if name.split('.')[0] == 'mcp']"
    code = f"import sys; import turnwise.proxy.commands as command; command.command_line(); print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stdout.strip() == "[]"
