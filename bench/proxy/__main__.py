"""`python -m bench.proxy`: set up, measure, and say what was measured."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec
from bench.proxy.install import InstallError, install, say
from bench.proxy.measure import Plan, measure
from bench.proxy.peers import DIRECT, KV_AWARE, NGINX, ON_REQUEST, PEERS
from bench.proxy.processes import ProcessError
from bench.proxy.report import markdown, renew_paper
from bench.proxy.results import Run
from bench.proxy.scenarios import SCENARIOS

TARGETS = (DIRECT, *(peer.name for peer in PEERS))
KNOWN_TARGETS = (*TARGETS, *(peer.name for peer in ON_REQUEST))
QUICK_TARGETS = (DIRECT, NGINX, KV_AWARE)
QUICK_SCENARIOS = ("small64", "next600k", "stream2ms")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "turnwise"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 failed, 2 called wrongly."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(words)
    args.command = as_make(words)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)  # so that whatever was started is stopped
    try:
        return int(args.run(args))
    except (InstallError, ProcessError) as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def as_make(words: Sequence[str]) -> str:
    """The command that a reader can give again, without the folders of this machine."""
    private = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--cache", "--out"):
        private.add_argument(option)
    private.add_argument("--docs", action="store_true")
    options = shlex.join(private.parse_known_args(words)[1][1:])
    return f'make bench-proxy ARGS="{options}"' if options else "make bench-proxy"


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description="The proxy beside its peers.")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for what is installed (default %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    setup = commands.add_parser("setup", help="compile the generator and the replica, install the peers")
    setup.set_defaults(run=_setup)
    run = commands.add_parser("run", help="measure")
    run.add_argument("--quick", action="store_true", help="half a minute: two short rounds of what the bars need, no paper")
    run.add_argument("--only", type=_names(KNOWN_TARGETS), help=f"targets, by comma: {', '.join(KNOWN_TARGETS)}")
    run.add_argument("--scenario", type=_names([one.name for one in SCENARIOS]), help="scenarios, by comma")
    run.add_argument("--rounds", type=int, help="samples of each target in each scenario (default 7; 2 if quick)")
    run.add_argument("--seconds", type=float, help="length of a sample, about (default 1; 0.5 if quick)")
    run.add_argument("--seed", type=int, default=1, help="of the bodies (default 1)")
    run.add_argument("--router-cores", default="1", help="core of the target (default 1); `0,1` for several workers")
    run.add_argument("--load-cores", default="0", help="core of generator and replicas (default 0)")
    run.add_argument(
        "--out", type=Path, default=Path("build/bench-proxy.json"), help="file for the result (default %(default)s)"
    )
    run.add_argument("--docs", action="store_true", help="renew the tables and plots in docs/")
    run.set_defaults(run=_run)
    report = commands.add_parser("report", help="say what a run measured, as Markdown")
    report.add_argument("file", type=Path, help="what `run` wrote")
    report.add_argument("--docs", action="store_true", help="renew the tables and plots in docs/")
    report.set_defaults(run=_report)
    return parser


def _names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if strange := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(strange))}")
        return chosen

    return names


def _setup(args: argparse.Namespace) -> int:
    installed = install(args.cache, [peer.package for peer in PEERS if peer.package])
    say(f"ready in {args.cache}: {', '.join(['load', 'replica', *installed.environments])}")
    return 0


def _run(args: argparse.Namespace) -> int:
    targets = args.only or (QUICK_TARGETS if args.quick else TARGETS)
    chosen = args.scenario or (QUICK_SCENARIOS if args.quick else [one.name for one in SCENARIOS])
    installed = install(args.cache, [peer.package for peer in PEERS if peer.package and peer.name in targets])
    plan = Plan(
        targets=targets,
        scenarios=tuple(one for one in SCENARIOS if one.name in chosen),
        rounds=args.rounds or (2 if args.quick else 7),
        seconds=args.seconds or (0.5 if args.quick else 1.0),
        seed=args.seed,
        router_cores=args.router_cores,
        load_cores=args.load_cores,
        command=args.command,
    )
    with tempfile.TemporaryDirectory(prefix="bench-proxy-") as folder:
        run = measure(plan, installed, Path(folder))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1))
    return _tell(run, renew=args.docs)


def _report(args: argparse.Namespace) -> int:
    return _tell(msgspec.json.decode(args.file.read_bytes(), type=Run), renew=args.docs)


def _tell(run: Run, *, renew: bool) -> int:
    print(markdown(run))
    if renew:
        renew_paper(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
