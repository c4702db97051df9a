"""Starts programs each on its core, stops them whatever happens, and reads what their process trees used of CPU and memory."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 5.0
PROC = Path("/proc")


class ProcessError(Exception):
    """A program could not be started, or ended by itself."""


class Memory(msgspec.Struct, frozen=True):
    """Of a process tree, in KiB: resident, and proportional, where a page of several processes counts for each in part."""

    rss_kib: int
    pss_kib: int


class Process:
    """A program that runs, with its output in a file."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self.log = log
        self._popen = popen

    def check(self) -> None:
        """Raise `ProcessError` with the end of its output where it has ended."""
        if self._popen.poll() is not None:
            raise ProcessError(
                f"{self.name} ended with {self._popen.returncode}: {self.log.read_text(errors='replace')[-1500:]}"
            )

    def halt(self) -> None:
        """Let it and all that it started stand still until it may go on."""
        os.killpg(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it and all that it started: asked first, then killed."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_TIMEOUT_S)
                break
        with contextlib.suppress(ProcessLookupError):  # what outlived its parent
            os.killpg(self.pid, signal.SIGKILL)


class Processes(contextlib.ExitStack):
    """All that a run has started; leaving it ends them, last first."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def start(self, name: str, argv: Sequence[str], *, cores: str) -> Process:
        """Start a program on certain cores, in a process group of its own; it is told to end where this process dies."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *on_cores(cores), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if not name.startswith("TURNWISE_")},  # settings
                cwd=self._folder,
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self.callback(process.stop)
        return process


def on_cores(cores: str) -> list[str]:
    """What a command begins with to run on certain cores: `1`, or `0,1`."""
    return ["taskset", "-c", cores]


def missing_tools() -> list[str]:
    """Debian packages of the programs that a run needs and this machine lacks."""
    packages = {"cc": "gcc libc6-dev", "nginx": "nginx-light", "taskset": "util-linux", "setpriv": "util-linux"}
    return sorted({package for tool, package in packages.items() if shutil.which(tool, path=tool_path()) is None})


def tool_path() -> str:
    """Where programs are looked for; servers are often outside an ordinary user's path."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until_answering(process: Process, port: int, body: bytes) -> None:
    """Wait until a chat request gets a 200; raises `ProcessError` where that does not come."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    said = "nothing"
    while time.monotonic() < deadline:
        process.check()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status == 200:
                return
            said = f"{answer.status} {answer.read(200).decode(errors='replace')}"
        except (OSError, http.client.HTTPException) as error:
            said = str(error)
        finally:
            connection.close()
        time.sleep(0.1)
    raise ProcessError(f"{process.name} does not answer within {READY_TIMEOUT_S:g} s: {said}")


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                parent = int(stat.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    return list(_below(pid, children))


def _below(pid: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _below(child, children)


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process tree, as the scheduler counts it; of threads that have ended, nothing."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            for task in (PROC / str(process) / "task").iterdir():
                with contextlib.suppress(OSError):
                    total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total


def memory(pid: int) -> Memory:
    """Memory of a process tree now."""
    rss = pss = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            for line in (PROC / str(process) / "smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Rss:"):
                    rss += int(line.split()[1])
                elif line.startswith("Pss:"):
                    pss += int(line.split()[1])
    return Memory(rss_kib=rss, pss_kib=pss)
