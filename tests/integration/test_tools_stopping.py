"""How `turnwise tools serve` ends while clients still hold on to it."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.test_tools_serve import PATIENCE_S, call, children, serving

FRONT = "[front]\nport = 0\nadmin_port = 0\n"
SHORT = ("--set", "front.drain_timeout_s=0.5")
SLOW = """
import json, os, sys, time

def answer(number, result):
    os.write(1, json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode() + b"\\n")

for line in sys.stdin:
    message = json.loads(line)
    number, method = message.get("id"), message["method"]
    if method == "server/discover":
        answer(number, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
    elif method == "tools/list":
        schema = {"type": "object", "properties": {"seconds": {"type": "number"}, "file": {"type": "string"}}}
        answer(number, {"tools": [{"name": "sleep", "inputSchema": schema}]})
    elif method == "tools/call":
        given = message["params"]["arguments"]
        open(given["file"], "w").close()
        time.sleep(given["seconds"])
        answer(number, {"content": [{"type": "text", "text": "slept"}]})
    elif number is not None:
        answer(number, {})
"""
LEGACY = {"accept": "application/json, text/event-stream"}


@pytest.fixture
def upstream(tmp_path: Path) -> str:
    program = tmp_path / "slow.py"
    program.write_text(SLOW)
    command = json.dumps([sys.executable, str(program)])
    return f'{FRONT}\n[[upstreams]]\nname = "slow"\ncommand = {command}\ntrusted = true\n'


class Calling(threading.Thread):
    """Makes a call that sleeps, and keeps what came of it."""

    def __init__(self, addresses: dict[str, str], begun: Path, seconds: float) -> None:
        super().__init__(daemon=True)
        self.result: Any = None
        self._ask: Callable[[], Any] = lambda: call(addresses["url"], "slow__sleep", {"seconds": seconds, "file": str(begun)})
        while httpx.get(addresses["admin_url"] + "/ready").status_code != 200:
            pass
        self.start()
        while not begun.exists():
            assert self.is_alive(), self.result

    def run(self) -> None:
        try:
            self.result = self._ask()
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self.result = error


@contextmanager
def stream_of(url: str) -> Iterator[Iterator[bytes]]:
    """A session of the older revision with the stream on which it is told."""
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    with httpx.Client(timeout=PATIENCE_S) as client:
        opened = client.post(url, json=body, headers=LEGACY)
        headers = {**LEGACY, "mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        client.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=headers)
        with client.stream("GET", url, headers=headers) as stream:
            assert stream.status_code == 200
            yield stream.iter_raw()


def is_whole(told: bytes) -> bool:
    """Whether a stream ended between events: it tells of tools where the upstream greets after it was opened."""
    return not told or told.endswith(b"\r\n\r\n")


def log_of(folder: Path) -> str:
    log = (folder / "log").read_text()
    assert "Traceback" not in log, log
    assert "ASGI" not in log, log
    return log


def test_a_stream_that_only_its_client_would_end_does_not_hold_it_up(tmp_path, upstream):
    with serving(tmp_path, upstream) as (process, addresses), stream_of(addresses["url"]) as told:
        process.send_signal(signal.SIGTERM)
        assert is_whole(b"".join(told))
        assert process.wait(PATIENCE_S) == 0
        assert "cut off" not in log_of(tmp_path)


def test_a_call_under_way_ends_well_while_streams_are_ended(tmp_path, upstream):
    with serving(tmp_path, upstream) as (process, addresses), stream_of(addresses["url"]) as told:
        calling = Calling(addresses, tmp_path / "begun", 3.0)
        process.send_signal(signal.SIGTERM)
        assert is_whole(b"".join(told))
        assert calling.is_alive()
        calling.join(PATIENCE_S)
        assert calling.result["content"][0]["text"] == "slept"
        assert process.wait(PATIENCE_S) == 0
        log_of(tmp_path)


def test_a_call_that_outlasts_the_drain_is_told_so(tmp_path, upstream):
    state = tmp_path / "state"
    with serving(tmp_path, upstream, *SHORT, "--set", f"trust.state_dir={state}") as (process, addresses):
        started = children(process.pid)
        calling = Calling(addresses, tmp_path / "begun", PATIENCE_S)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        calling.join(PATIENCE_S)
        assert calling.result["isError"] is True
        assert "cut off" in calling.result["content"][0]["text"]
        assert "1 calls were still under way and are cut off" in log_of(tmp_path)
    records = [json.loads(line) for file in state.rglob("audit*") if file.is_file() for line in file.read_text().splitlines()]
    ended = [record for record in records if "cancelled" in json.dumps(record)]
    assert [float(json.dumps(record).split('"seconds": ')[1].split(",")[0]) >= 0.5 for record in ended] == [True], records
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_twice_it_ends_at_once_and_says_so_in_one_line(tmp_path, upstream, number):
    with serving(tmp_path, upstream) as (process, addresses), stream_of(addresses["url"]):
        calling = Calling(addresses, tmp_path / "begun", PATIENCE_S)
        started = children(process.pid)
        process.send_signal(number)
        while "stopping" not in (tmp_path / "log").read_text():
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 1
        calling.join(PATIENCE_S)
        said = log_of(tmp_path).splitlines()
        assert [line for line in said if line.startswith("turnwise: stopped at once")] == said[-1:]
    assert started
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
