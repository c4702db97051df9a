"""Two real vLLM replicas, one on each of two cores, that live exactly as long as one command.

    python -m tests.vllm.fleet CACHE -- pytest -m vllm tests/contract tests/vllm

CACHE holds `venv/` (install.sh) and `model/` (make_model.py), and receives `logs/`. The command finds the replicas'
addresses in `TURNWISE_VLLM_URLS`, separated by commas, and that of a proxy in front of them in `TURNWISE_VLLM_PROXY_URL`;
everything else about a replica can be asked of the replica itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from tests.vllm.sidecar import serving

NUM_REPLICAS = 2
BLOCK_SIZE = 32  # vLLM's attention on CPU takes no smaller one
NUM_BLOCKS = 1024  # 32,768 tokens: half a GiB of this model's KV
START_DEADLINE_S = 240.0
STOP_DEADLINE_S = 20.0
PROGRESS_EVERY_S = 10.0
POLL_EVERY_S = 0.5


class Replica:
    """One engine server: its process group, its address and its log."""

    def __init__(self, cache: Path, name: str, core: int, num_blocks: int = NUM_BLOCKS, traces_url: str = "") -> None:
        port, events_port = free_ports()
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.log = cache / "logs" / f"{name}.log"
        self._command = engine_command(cache, port, events_port, num_blocks, traces_url)
        self._core = core
        self.start()

    def start(self) -> None:
        """Begin to start the engine, at the address that it always had."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command,
                env=os.environ | engine_environment(self._core),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an engine is four processes; its group is what ends them all
            )
        os.sched_setaffinity(self.process.pid, {self._core})

    def is_ready(self) -> bool:
        """Say whether the engine serves; a dead one raises with the end of its log."""
        if self.process.poll() is not None:
            raise SystemExit(
                f"{self.name} ended with {self.process.returncode} while starting; {self.log} ends:\n{self.tail()}"
            )
        try:
            return httpx.get(f"{self.url}/health", timeout=2.0).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def tail(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])

    def stop(self) -> None:
        """Let the engine end in its own way, then end whatever is left of its process group."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_DEADLINE_S)
        self.kill()

    def kill(self) -> None:
        """End its process group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def free_ports() -> tuple[int, int]:
    """Return a port for the API and the first of two adjacent ports for KV events and their replay."""
    while True:
        with contextlib.ExitStack() as held:
            api, events, replay = (held.enter_context(socket.socket()) for _ in range(3))
            api.bind(("127.0.0.1", 0))
            events.bind(("", 0))
            events_port = events.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                replay.bind(("", events_port + 1))
                return api.getsockname()[1], events_port


def engine_command(cache: Path, port: int, events_port: int, num_blocks: int, traces_url: str) -> list[str]:
    """Return the command line of one replica; a publisher binds only an endpoint that has `*` in it."""
    tracing = ("--otlp-traces-endpoint", traces_url) if traces_url else ()
    events = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": f"tcp://*:{events_port}",
        "replay_endpoint": f"tcp://*:{events_port + 1}",
        "topic": "kv-events",
    }
    options = {
        "model": cache / "model",
        "served-model-name": "lab",
        "host": "127.0.0.1",
        "port": port,
        "dtype": "float32",  # without AVX-512, bfloat16 is three times slower
        "max-model-len": 8192,
        "max-num-seqs": 16,
        "block-size": BLOCK_SIZE,
        "num-gpu-blocks-override": num_blocks,
        "prefix-caching-hash-algo": "sha256_cbor",
        "kv-events-config": json.dumps(events),
        "tool-call-parser": "hermes",
        "scheduling-policy": "priority",
    }
    switches = (
        "enforce-eager",
        "enable-prefix-caching",
        "enable-auto-tool-choice",
        "enable-prompt-tokens-details",
        "enable-request-id-headers",
    )
    return [
        str(cache / "venv/bin/python"),
        *("-m", "vllm.entrypoints.openai.api_server"),
        *(word for name, value in options.items() for word in (f"--{name}", str(value))),
        *(f"--{name}" for name in switches),
        *tracing,
    ]


def engine_environment(core: int) -> dict[str, str]:
    """Return what keeps an engine on its core, small, and off the network."""
    return {
        "VLLM_CPU_OMP_THREADS_BIND": str(core),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_SERVER_DEV_MODE": "1",  # for `POST /reset_prefix_cache`
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "200",  # milliseconds; by default five seconds
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


@contextlib.contextmanager
def running(
    cache: Path, num_blocks: int = NUM_BLOCKS, *, num_replicas: int = NUM_REPLICAS, traces_url: str = ""
) -> Iterator[list[Replica]]:
    """Start the replicas, each with so many blocks of KV, wait until all serve, and stop them however the block is left.

    They send their spans to `traces_url`, if that is not empty.
    """
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as started:
        replicas = []
        for number in range(num_replicas):
            replica = Replica(cache, f"replica-{number}", cores[number % len(cores)], num_blocks, traces_url)
            started.callback(replica.stop)
            replicas.append(replica)
        wait_until_ready(replicas)
        yield replicas


def say(line: str) -> None:
    """Tell the person at the terminal, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def wait_until_ready(replicas: list[Replica]) -> None:
    """Return when every replica answers, with a line of progress now and then."""
    say(f"starting {len(replicas)} vLLM replicas (25 to 60 s); logs in {replicas[0].log.parent}")
    began = said = time.monotonic()
    while starting := [replica for replica in replicas if not replica.is_ready()]:
        now = time.monotonic()
        names = ", ".join(replica.name for replica in starting)
        if now - began > START_DEADLINE_S:
            raise SystemExit(
                f"{names} did not serve within {START_DEADLINE_S:.0f} s; {starting[0].log} ends:\n{starting[0].tail()}"
            )
        if now - said > PROGRESS_EVERY_S:
            say(f"  {now - began:3.0f} s: waiting for {names}")
            said = now
        time.sleep(POLL_EVERY_S)
    say(f"replicas serve after {time.monotonic() - began:.0f} s")


def main() -> int:
    """Run the command beside the fleet and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="folder made by install.sh and make_model.py")
    parser.add_argument("command", nargs="+", help="what to run, after `--`")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C does, these unwind the block that stops the replicas
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    with running(arguments.cache.resolve()) as replicas:
        urls = [replica.url for replica in replicas]
        with serving(urls, log=arguments.cache / "logs/proxy.log") as sidecar:
            found = {"TURNWISE_VLLM_URLS": ",".join(urls), "TURNWISE_VLLM_PROXY_URL": sidecar.url}
            return subprocess.run(arguments.command, env=os.environ | found, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
