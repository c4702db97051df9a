"""How each target is started in front of the two replicas; all with their own defaults, but that logs say warnings only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from bench.proxy.install import Installed

ROOT = Path(__file__).parents[2]
DIRECT = "direct"
NGINX = "nginx"
ROUND_ROBIN = "turnwise-round-robin"
KV_AWARE = "turnwise-kv-aware"
WORKERS = "turnwise-2-workers"


class Site(msgspec.Struct, frozen=True):
    """Where a target stands: its port, three more that are its own, the replicas behind it, a folder for its files."""

    port: int
    spare_ports: tuple[int, int, int]
    replica_ports: tuple[int, ...]
    folder: Path

    @property
    def replica_urls(self) -> list[str]:
        """Base URLs of the replicas."""
        return [f"http://127.0.0.1:{port}" for port in self.replica_ports]


class Peer(msgspec.Struct, frozen=True):
    """A target: the command that starts it, and how it tells its version. `package` is its lock in `locks/`, if it has one."""

    name: str
    title: str
    argv: Callable[[Installed, Site], list[str]]
    version: Callable[[Installed], str]
    note: str = ""
    package: str | None = None


def _turnwise(policy: str, *more: str) -> Callable[[Installed, Site], list[str]]:
    def argv(_: Installed, site: Site) -> list[str]:
        replicas = [part for url in site.replica_urls for part in ("--replica", url)]
        ports = ["--port", str(site.port), "--admin-port", str(site.spare_ports[0])]
        turnwise = str(Path(sys.executable).with_name("turnwise"))
        return [turnwise, "serve", *replicas, *ports, "--policy", policy, "--log-level", "warning", *more]

    return argv


def _turnwise_version(_: Installed) -> str:
    return _said([str(Path(sys.executable).with_name("turnwise")), "--version"]).split()[-1]


def _nginx(installed: Installed, site: Site) -> list[str]:
    conf = site.folder / "nginx.conf"
    folders = {name: site.folder / f"nginx-{name}" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")}
    conf.write_text(
        NGINX_CONF.format(
            pid=site.folder / "nginx.pid",
            user="user root;" if os.geteuid() == 0 else "",
            temp="\n".join(f"  {name}_temp_path {folder};" for name, folder in folders.items()),
            servers="\n".join(f"    server 127.0.0.1:{port};" for port in site.replica_ports),
            port=site.port,
        ),
        encoding="utf-8",
    )
    return [installed.nginx, "-e", "stderr", "-p", str(site.folder), "-c", str(conf)]


NGINX_CONF = """\
daemon off;
{user}
pid {pid};
worker_processes 1;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_max_body_size 64m;
  client_body_buffer_size 2m;  # no body of the run touches a disk
  keepalive_requests 1000000000;
{temp}
  upstream replicas {{
{servers}
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://replicas;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def _nginx_version(installed: Installed) -> str:
    return re.sub(r".*/", "", _said([installed.nginx, "-v"]))


def _rust(package: str, *command: str, log_level: str) -> Callable[[Installed, Site], list[str]]:
    def argv(installed: Installed, site: Site) -> list[str]:
        program = str(installed.environments[package] / "bin" / command[0])
        where = ["--host", "127.0.0.1", "--port", str(site.port), "--prometheus-port", str(site.spare_ports[0])]
        urls = ["--worker-urls", *site.replica_urls]
        return [program, *command[1:], *where, *urls, "--policy", "cache_aware", "--log-level", log_level]

    return argv


def _package_version(package: str) -> Callable[[Installed], str]:
    ask = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return lambda installed: _said([str(installed.environments[package] / "bin/python"), "-c", ask, package])


def _said(argv: list[str]) -> str:
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()


WARNINGS_ONLY = "defaults, but `log.level` is warning"

PEERS = (
    Peer(ROUND_ROBIN, "Turnwise, round_robin", _turnwise("round_robin"), _turnwise_version, WARNINGS_ONLY),
    Peer(KV_AWARE, "**Turnwise, kv_aware**", _turnwise("kv_aware"), _turnwise_version, WARNINGS_ONLY),
    Peer(NGINX, "nginx", _nginx, _nginx_version, "1 worker, kept upstream connections, no buffering, no access log"),
    *(
        Peer(
            package,
            f"{package}, cache_aware",
            _rust(package, *command, log_level=log_level),
            _package_version(package),
            note,
            package,
        )
        for package, command, log_level, note in (
            (
                "sglang-router",
                ("sglang-router", "launch"),
                "warn",
                "does not set `TCP_NODELAY`, so that first chunks come late",
            ),
            ("smg", ("smg", "launch"), "warn", ""),
            (
                "vllm-router",
                ("vllm-router",),
                "warning",
                "asks every replica to tokenize every prompt; the mock does it for nothing",
            ),
        )
    ),
)
"""In the order of the tables."""

ON_REQUEST = (
    Peer(WORKERS, "Turnwise, kv_aware, 2 workers", _turnwise("kv_aware", "--workers", "2"), _turnwise_version, WARNINGS_ONLY),
)
"""Measured only where named: two workers need two cores, and the peers have one."""
