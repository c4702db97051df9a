"""Real processes: two embedded engines, the proxy before them, and one client at a time in an environment of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

HERE = Path(__file__).parent
FOLDER = os.environ.get("CLIENTS_FOLDER")
CLI = "cli/node_modules/opencode-linux-x64-baseline/bin/opencode"
PATIENCE_S = 60.0
"""How long anything may take before a test gives up; no test asserts on time."""
POLL_EVERY_S = 0.02
SIM = ("--preset", "h100-8b", "--speed", "20", "--tool-policy", "once")
SWITCHED_OFF = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}
"""What clients send elsewhere, off."""


class Errand(msgspec.Struct, frozen=True):
    """What a client said at its end."""

    text: str
    tool_runs: list[str]


class Outside:
    """Stands for all that is not loopback: clients are told it is their HTTP proxy, and it notes who they ask for."""

    def __init__(self) -> None:
        self.asked_for: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        with self._socket:
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    if not (asked := connection.recv(4096)):  # `close` says nothing
                        return
                    self.asked_for.append(asked.partition(b"\r\n")[0].decode("latin-1"))

    def close(self) -> None:
        """Listen no more."""
        socket.create_connection(self._socket.getsockname()).close()
        self._thread.join()


class Fleet:
    """A running proxy, as its admin API tells of it."""

    def __init__(self, url: str, admin_url: str, home: Path) -> None:
        self.url = url
        self.admin = httpx.Client(base_url=admin_url)
        self.home = home
        self.outside = Outside()

    def close(self) -> None:
        """Let go of what the clients were given."""
        self.outside.close()
        self.admin.close()

    @contextlib.contextmanager
    def client(self, environment: str, script: str, *arguments: str, goal: str) -> Iterator[subprocess.Popen[str]]:
        """Run one script in one environment; the process is ended where the block is left before it has."""
        python = sys.executable if environment == "cli" else f"{FOLDER}/{environment}/bin/python"
        variables = SWITCHED_OFF | {
            "BASE_URL": self.url,
            "GOAL": goal,
            "HOME": str(self.home),
            "OPENCODE": f"{FOLDER}/{CLI}",
            "PATH": os.environ["PATH"],
            "NO_PROXY": "127.0.0.1,localhost",
            **dict.fromkeys(("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"), self.outside.url),
        }
        command = [python, str(HERE / "scripts" / f"{script}.py"), *arguments]
        with subprocess.Popen(
            command,
            env=variables,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, environment: str, script: str, *arguments: str, goal: str) -> Errand:
        """Run one script to its end, which must be a good one."""
        with self.client(environment, script, *arguments, goal=goal) as process:
            return self.finished(process)

    @staticmethod
    def finished(process: subprocess.Popen[str]) -> Errand:
        """Wait for a client's good end and return what it said."""
        said, complained = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, complained[-4000:]
        return msgspec.json.decode(said.splitlines()[-1], type=Errand)

    def calls(self) -> list[dict]:
        """All calls that have ended, oldest first, once none is under way."""
        self.wait_until(lambda: not any(replica["num_running"] for replica in self.replicas()))
        return self.admin.get("/v1/calls", params={"limit": 100_000}).json()["calls"][::-1]

    def replicas(self) -> list[dict]:
        return self.admin.get("/v1/replicas").json()["replicas"]

    def total(self, metric: str, **labels: str) -> float:
        """Sum of a metric over the series that have these labels."""
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        lines = self.admin.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith(f"{metric}{{") and all(label in line for label in wanted)]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def drain(self, *, is_draining: bool) -> None:
        """Let every replica take no new calls, or take them again."""
        for replica in self.replicas():
            verb = "drain" if is_draining else "undrain"
            self.admin.post(f"/v1/replicas/{replica['name']}/{verb}").raise_for_status()

    def wait_until(self, holds) -> None:
        """Return once something holds that only becomes true while other processes run."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(POLL_EVERY_S)


@contextlib.contextmanager
def announced(*arguments: str, log: Path) -> Iterator[dict]:
    """Run a `turnwise` command until the block is left; gives the addresses that it prints when it is ready."""
    # Only what is set here: a setting in the caller's environment would be another proxy.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TURNWISE_")}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "turnwise.proxy", *arguments],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            line = process.stdout.readline()
            assert line, f"turnwise {arguments[0]} ended: {log.read_text(errors='replace')}"
            yield json.loads(line)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two engines and a proxy that all tests share, each of which looks at its own calls only."""
    if FOLDER is None:
        pytest.skip("the agent clients are not installed: run `make test-clients`")
    logs = tmp_path_factory.mktemp("logs")
    with contextlib.ExitStack() as stack:
        arguments = ["--port", "0", "--admin-port", "0", "--set", "fleet.check_interval_s=0.1"]
        for number in range(2):
            sim = stack.enter_context(announced("sim", "--port", "0", *SIM, log=logs / f"sim-{number}.log"))
            arguments += ["--replica", f"sim-{number}={sim['url']}"]
        proxy = stack.enter_context(announced("serve", *arguments, log=logs / "serve.log"))
        running = Fleet(proxy["url"], proxy["admin_url"], tmp_path_factory.mktemp("home"))
        stack.callback(running.close)
        running.wait_until(lambda: all(replica["is_routable"] and replica["feed"] == "live" for replica in running.replicas()))
        yield running


@pytest.fixture(scope="session")
def coding_cli() -> None:
    """Skips where the coding CLI's pinned build does not run."""
    if FOLDER is None or not Path(FOLDER, CLI).exists():
        pytest.skip("the coding CLI is not installed: it needs npm, and Linux on x86-64")
