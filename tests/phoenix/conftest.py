"""Real processes: Phoenix on loopback, two embedded engines and a proxy that traces, and agents that make three programs."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from bench.proxy.processes import Process, Processes, free_ports

HERE = Path(__file__).parent
FOLDER = os.environ.get("PHOENIX_FOLDER")
PATIENCE_S = 90.0
"""How long anything may take before a test gives up; no test asserts on time."""
POLL_EVERY_S = 0.05
MODEL = "sim"
TASK = "Count the lamps in the cellar and say which of them are broken"
DELEGATE = {
    "type": "function",
    "function": {
        "name": "delegate",
        "description": "Hand a task to another agent.",
        "parameters": {"type": "object", "properties": {"task": {"const": TASK}}, "required": ["task"]},
    },
}
READ = {
    "type": "function",
    "function": {
        "name": "read_file",
        "description": "Read a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}


class Phoenix:
    """A running Phoenix, asked over its REST API."""

    def __init__(self, url: str, grpc_url: str) -> None:
        self.endpoints = {"http/protobuf": url, "grpc": grpc_url}
        self._http = httpx.Client(base_url=f"{url}/v1/projects/default", timeout=PATIENCE_S, trust_env=False)

    def traces(self) -> set[str]:
        """Ids of all traces that it holds; it makes the project with the first span."""
        answer = self._http.get("/traces", params={"limit": 1000})
        return {trace["trace_id"] for trace in answer.json()["data"]} if answer.status_code == 200 else set()

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of one trace."""
        answer = self._http.get("/spans", params={"trace_id": trace_id, "limit": 1000})
        return answer.raise_for_status().json()["data"]

    def traces_of_session(self, session: str) -> set[str]:
        """Ids of the traces that it groups under one session."""
        answer = self._http.get("/traces", params={"limit": 1000, "session_identifier": session})
        return {trace["trace_id"] for trace in answer.raise_for_status().json()["data"]}

    def close(self) -> None:
        self._http.close()


class Told(msgspec.Struct, frozen=True):
    """What one proxy said of its programs before it was stopped, and what Phoenix then held of them."""

    session: str
    programs: dict[str, dict[str, Any]]
    """As `GET /programs` lists them, by what the agents did in them."""
    spans: dict[str, list[dict[str, Any]]]
    """By the same."""


class Agent:
    """One conversation with the proxy."""

    def __init__(self, http: httpx.Client, headers: dict[str, str], goal: str, *tools: dict[str, Any]) -> None:
        self._http = http
        self._headers = headers
        self._tools = tools
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": "You do as you are told."}]
        self.say(goal)

    def say(self, goal: str) -> None:
        self.messages.append({"role": "user", "content": goal})

    def call(self, *, is_stream: bool = False) -> list[dict[str, Any]]:
        """Send one call; returns its tool calls."""
        body: dict[str, Any] = {"model": MODEL, "messages": self.messages, "max_tokens": 64}
        if self._tools:
            body["tools"] = self._tools
        if is_stream:
            body["stream"] = True
            answer = self._http.post("/v1/chat/completions", json=body, headers=self._headers)
            self.messages.append({"role": "assistant", "content": _said(answer.raise_for_status().text)})
            return []
        answer = self._http.post("/v1/chat/completions", json=body, headers=self._headers)
        message = answer.raise_for_status().json()["choices"][0]["message"]
        self.messages.append({name: value for name, value in message.items() if value})
        return message.get("tool_calls") or []

    def give(self, calls: list[dict[str, Any]], result: str) -> None:
        self.messages += [{"role": "tool", "tool_call_id": call["id"], "content": result} for call in calls]


def _said(stream: str) -> str:
    events = [line[6:] for line in stream.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for event in events for choice in msgspec.json.decode(event)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def _ends_forked(http: httpx.Client) -> None:
    """An agent hands its task to another, whose answer it then brings; nothing but the prompts says what belongs together."""
    parent = Agent(http, {}, "Have somebody count the lamps.", DELEGATE)
    calls = parent.call()
    assert calls, "the engine calls the tool that it is offered"
    child = Agent(http, {}, TASK)
    assert not child.call(is_stream=True)
    parent.give(calls, child.messages[-1]["content"])
    assert not parent.call()


def _ends_twice(http: httpx.Client, session: str) -> None:
    """An agent reads a file and answers; then its user has another goal."""
    agent = Agent(http, {"x-turnwise-session": session}, "Read the notes and sum them up.", READ)
    calls = agent.call()
    assert calls
    agent.give(calls, "Buy lamps.")
    assert not agent.call()
    agent.say("Now do the same for the diary.")
    calls = agent.call()
    assert calls
    agent.give(calls, "Rained all day.")
    assert not agent.call()


def _until(holds, *processes: Process) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        for process in processes:
            process.check()
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(POLL_EVERY_S)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture(scope="session")
def phoenix(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    if FOLDER is None:
        pytest.skip("Phoenix is not installed: run `make test-phoenix`")
    port, grpc_port = free_ports(2)
    settings = {
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_GRPC_PORT": grpc_port,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": port,
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_WORKING_DIR": tmp_path_factory.mktemp("phoenix"),
    }
    argv = ["env", *(f"{name}={value}" for name, value in settings.items()), f"{FOLDER}/venv/bin/python", HERE / "serve.py"]
    server = processes.start("phoenix", list(map(str, argv)), cores=_all_cores())
    url = f"http://127.0.0.1:{port}"
    _until(lambda: _answers(f"{url}/healthz"), server)
    running = Phoenix(url, f"http://127.0.0.1:{grpc_port}")
    yield running
    running.close()


@pytest.fixture(scope="session", params=["http/protobuf", "grpc"])
def told(request: pytest.FixtureRequest, phoenix: Phoenix, processes: Processes) -> Told:
    """Three programs behind a proxy that traces over one protocol, then its stop, by which all of them end."""
    protocol = request.param
    session = f"session-{protocol.partition('/')[0]}"
    port, admin_port, *sims = free_ports(4)
    command = [sys.executable, "-m", "turnwise.proxy"]
    for number in sims:
        sim = processes.start(f"sim-{number}", [*command, "sim", "--port", str(number), *SIM], cores=_all_cores())
        _until(lambda number=number: _answers(f"http://127.0.0.1:{number}/health"), sim)
    replicas = [part for number in sims for part in ("--replica", f"http://127.0.0.1:{number}")]
    settings = [f"traces.endpoint={phoenix.endpoints[protocol]}", f"traces.protocol={protocol}", "fleet.check_interval_s=0.1"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    ports = ["--port", str(port), "--admin-port", str(admin_port)]
    argv = [*command, "serve", *ports, *replicas, *overrides]
    proxy = processes.start(f"proxy-{session}", argv, cores=_all_cores())
    _until(lambda: _answers(f"http://127.0.0.1:{port}/ready"), proxy)
    before = phoenix.traces()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False) as http:
        _ends_twice(http, session)
        _ends_forked(http)
    listed = httpx.get(f"http://127.0.0.1:{admin_port}/programs", params={"limit": 100}, trust_env=False)
    programs = listed.raise_for_status().json()["programs"]
    os.kill(proxy.pid, signal.SIGTERM)
    _until(lambda: len(phoenix.traces() - before) >= 3)
    _until(lambda: all(_has_root(phoenix.spans(program["trace_id"])) for program in programs))
    by_age = sorted(programs, key=lambda program: -program["age_s"])
    named = dict(zip(("first goal", "second goal", "forked"), by_age, strict=True))
    spans = {name: phoenix.spans(program["trace_id"]) for name, program in named.items()}
    assert phoenix.traces() - before == {program["trace_id"] for program in programs}
    return Told(session, named, spans)


SIM = ("--preset", "h100-8b", "--speed", "20", "--tool-policy", "once")


def _has_root(spans: list[dict[str, Any]]) -> bool:
    return any(span["parent_id"] is None for span in spans)


def _all_cores() -> str:
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))
