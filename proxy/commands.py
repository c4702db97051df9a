"""The command line: reads arguments, and hands each subcommand to the module that does it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import re
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

import msgspec
import uvloop

from turnwise import __version__, logs, settings_sources
from turnwise.binding import is_loopback
from turnwise.engines.sim import server as sim
from turnwise.errors import SettingsError
from turnwise.proxy import app, demo, doctor, examples, lint_captures, replay, replicas, watch
from turnwise.proxy.export import otlp
from turnwise.proxy.workers import supervisor
from turnwise.proxy.workers.process import WorkersFailed
from turnwise.settings import LogLevel, PolicyName, Server, Settings
from turnwise.settings_sources import LoadedSettings
from turnwise.tools_gateway import cli as tools

logger = logging.getLogger(__name__)

FLAGS = {
    "host": "server.host",
    "port": "server.port",
    "admin_port": "server.admin_port",
    "workers": "server.workers",
    "policy": "policy.name",
    "log_level": "log.level",
    "replica": "replicas",
    "allow_path": "surface.allow_paths",
}
"""Flag to the setting that it sets."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 failed, 2 called wrongly."""
    try:
        args, unknown = command_line().parse_known_args(argv)
        if unknown:
            args.parser.error(f"unrecognized argument: {unknown[0]}{_meant(unknown[0], args.parser)}")
        return int(args.run(args))
    except SettingsError as error:
        print(f"turnwise: {error.message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def command_line() -> argparse.ArgumentParser:
    """What reads the command line."""
    parser = argparse.ArgumentParser(
        prog="turnwise",
        description="Sidecar proxy and KV-aware load balancer for LLM agents: point base_url at it and change nothing else.",
        epilog=examples.BEGIN,
        formatter_class=examples.Help,
    )
    parser.add_argument("--version", action="version", version=f"turnwise {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="run the proxy in front of replicas",
        description="Run the proxy in front of replicas.",
        epilog=examples.SERVE,
        formatter_class=examples.Help,
    )
    _add_settings(serve)
    serve.set_defaults(run=_serve, parser=serve)

    config = commands.add_parser(
        "config",
        help="print the settings in force and where each comes from",
        description="Print the settings in force, as TOML.",
    )
    _add_settings(config)
    config.set_defaults(run=_config, parser=config)

    doctor_parser = commands.add_parser(
        "doctor",
        help="check replicas, and name the engine flag that is missing",
        description="Check every replica: reachable, version, KV events and replay, usage details, block size, hash domain.",
    )
    _add_settings(doctor_parser)
    doctor_parser.set_defaults(run=_doctor, parser=doctor_parser)

    replicas_parser = commands.add_parser(
        "replicas", help="show what a running proxy knows of each replica, and what is amiss", description=replicas.DESCRIPTION
    )
    replicas.add_arguments(replicas_parser)
    _add_settings(replicas_parser)
    replicas_parser.set_defaults(run=_replicas, parser=replicas_parser)

    programs_parser = commands.add_parser(
        "programs", help="list the programs that a running proxy knows", description=watch.PROGRAMS_DESCRIPTION
    )
    watch.add_programs_arguments(programs_parser)
    _add_settings(programs_parser)
    programs_parser.set_defaults(run=_programs, parser=programs_parser)

    program_parser = commands.add_parser(
        "program", help="show where the time of one program went", description=watch.PROGRAM_DESCRIPTION
    )
    watch.add_program_arguments(program_parser)
    _add_settings(program_parser)
    program_parser.set_defaults(run=_program, parser=program_parser)

    tools_parser = commands.add_parser(
        "tools",
        help="run the tools gateway and see to it",
        description="The tools gateway: MCP servers behind one endpoint, whose tools start before the model has done speaking.",
    )
    tools.add_commands(tools_parser)

    sim_parser = commands.add_parser(
        "sim",
        help="run the embedded engine",
        description="Run the embedded engine: a replica without a GPU that speaks vLLM's API.",
    )
    sim.add_arguments(sim_parser)
    sim_parser.set_defaults(run=sim.run, parser=sim_parser)

    demo_parser = commands.add_parser(
        "demo", help="see KV-aware routing beside round-robin on three embedded engines", description=demo.DESCRIPTION
    )
    demo.add_arguments(demo_parser)
    demo_parser.set_defaults(run=demo.run, parser=demo_parser)

    replay_parser = commands.add_parser(
        "replay",
        help="replay a recorded trace on a virtual fleet, policy by policy",
        description=replay.DESCRIPTION,
        epilog=examples.REPLAY,
        formatter_class=examples.Help,
    )
    replay.add_arguments(replay_parser)
    replay_parser.set_defaults(run=replay.run, parser=replay_parser)

    lint_parser = commands.add_parser(
        "lint",
        help="find what breaks the prompt prefixes of captured calls",
        description=lint_captures.DESCRIPTION,
        epilog=examples.LINT,
        formatter_class=examples.Help,
    )
    lint_captures.add_arguments(lint_parser)
    lint_parser.set_defaults(run=lint_captures.run, parser=lint_parser)
    return parser


def _meant(flag: str, parser: argparse.ArgumentParser) -> str:
    known = re.findall(r"--[a-z][a-z-]*", parser.format_help())
    close = get_close_matches(flag.partition("=")[0], known, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings (docs/settings.md)")
    group.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings; so does TURNWISE_CONFIG name one")
    group.add_argument(
        "--replica", action="append", metavar="[NAME=]URL", help="a replica, `http://host:port`; may be given several times"
    )
    group.add_argument("--host", metavar="ADDRESS", help="address that clients connect to")
    group.add_argument("--port", type=int, metavar="N", help="port that clients connect to")
    group.add_argument("--admin-port", type=int, metavar="N", help="port of the admin API and /metrics")
    group.add_argument("--workers", type=int, metavar="N", help="processes that serve; one core each")
    group.add_argument("--policy", choices=get_args(PolicyName), help="how a replica is chosen")
    group.add_argument("--allow-path", action="append", metavar="PATH", help="relay this path too; may be given several times")
    group.add_argument("--log-level", choices=get_args(LogLevel), help="lowest level written")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="any setting, e.g. policy.miss_weight=2",
    )


def _load(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> LoadedSettings:
    file = args.config or (Path(environ["TURNWISE_CONFIG"]) if "TURNWISE_CONFIG" in environ else None)
    flags = {f"--{flag.replace('_', '-')}": (key, getattr(args, flag)) for flag, key in FLAGS.items()}
    return settings_sources.load(file=file, environ=environ, overrides=args.overrides, flags=flags)


def _load_fleet(args: argparse.Namespace) -> Settings:
    settings = _load(args).settings
    if not settings.replicas:
        raise SettingsError("no replica is given: use `--replica http://host:port`, or `[[replicas]]` in a `--config` file")
    return settings


def _serve(args: argparse.Namespace) -> int:
    settings = _load_fleet(args)
    otlp.check(settings, os.environ)
    logs.set_up(settings.log.level)
    if not is_loopback(settings.server.admin_host):
        logger.warning(
            "the admin port listens on %s and asks nobody who they are: who reaches it sees the programs of all tenants, "
            "ends them, and drains replicas; keep it private, or set `server.admin_host` to 127.0.0.1",
            settings.server.admin_host,
        )
    _open_as_many_files_as_allowed()

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        this = asyncio.current_task()
        assert this is not None

        def on_signal() -> None:
            if stop.is_set():
                this.cancel()  # asked twice: do not wait for running calls
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        run = app.run if settings.server.workers == 1 else supervisor.run
        await run(settings, stop=stop, on_ready=lambda addresses: _announce(addresses, settings.server))

    try:
        uvloop.run(serve())
    except asyncio.CancelledError:
        return 1
    except OSError as error:
        print(f"turnwise: cannot listen: {error.strerror or error}", file=sys.stderr)
        return 1
    except WorkersFailed as error:
        print(f"turnwise: {error}", file=sys.stderr)
        return 1
    return 0


def _open_as_many_files_as_allowed() -> None:
    """Raise the soft limit to the hard one: every client and every upstream connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some platforms refuse what they report
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _announce(addresses: app.Addresses, server: Server) -> None:
    """Say where the proxy listens: to people, and to a program that asked for any free port."""
    line = f"turnwise {__version__} serves on {addresses.url} (admin and metrics: {addresses.admin_url})"
    print(line, file=sys.stderr, flush=True)
    if 0 in {server.port, server.admin_port}:
        print(msgspec.json.encode(addresses).decode(), flush=True)


def _config(args: argparse.Namespace) -> int:
    print(settings_sources.as_toml_with_sources(_load(args)))
    return 0


def _replicas(args: argparse.Namespace) -> int:
    return replicas.run(args, _load(args).settings.server)


def _programs(args: argparse.Namespace) -> int:
    return watch.run_programs(args, _load(args).settings.server)


def _program(args: argparse.Namespace) -> int:
    return watch.run_program(args, _load(args).settings.server)


def _doctor(args: argparse.Namespace) -> int:
    return doctor.run(_load_fleet(args))
