"""The command line of `turnwise replay`, and the values that its options make."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec

from turnwise.engines.sim.cost import PRESETS
from turnwise.proxy.replay.drive import Pacing
from turnwise.proxy.replay.formats import READERS
from turnwise.proxy.replay.trace import Trace
from turnwise.proxy.replay.virtual import EngineName, ReplicaSize, VirtualFleet
from turnwise.settings import PolicyName, PolicySettings

DEFAULT_POLICIES: tuple[PolicyName, ...] = ("round_robin", "kv_aware")


class OptionError(Exception):
    """An option that cannot be, or not together with another."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `turnwise replay`."""
    parser.add_argument("trace", type=Path, metavar="TRACE", help="trace file, plain or gzip, or a folder of them")
    parser.add_argument("--format", choices=READERS, help="what the trace is (default: by its content)")
    parser.add_argument(
        "--policy",
        action="append",
        metavar="NAME[:KEY=VALUE,...]",
        help=f"policy to run, with settings of [policy] if wanted; may be repeated (default: {', '.join(DEFAULT_POLICIES)}). "
        f"Names: {', '.join(get_args(PolicyName))}",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="decides which sessions are played and when they start (default: 1)"
    )
    parser.add_argument("--limit", type=_count, metavar="N", help="play the first N calls only")
    parser.add_argument("--sessions", type=_count, metavar="N", help="play N sessions of two calls or more, chosen by the seed")

    pace = parser.add_argument_group("pace")
    loop = pace.add_mutually_exclusive_group()
    loop.add_argument("--open", action="store_true", help="send calls when the trace says (default, where it has one clock)")
    loop.add_argument("--closed", action="store_true", help="send a session's next call when it is ready for it")
    pace.add_argument("--live", type=_count, default=64, help="closed: sessions that run at once (default: 64)")
    pace.add_argument(
        "--think-cap", type=_seconds, default=300.0, metavar="S", help="closed: longest think time (default: 300)"
    )
    pace.add_argument(
        "--ramp", type=_seconds, default=60.0, metavar="S", help="closed: time for the first to start (default: 60)"
    )
    pace.add_argument("--speedup", type=_rate, default=1.0, help="divides every time of the trace (default: 1)")

    fleet = parser.add_argument_group("fleet on a virtual clock")
    fleet.add_argument(
        "--engine", choices=get_args(EngineName), default="fifo", help="model of the engine (default: fifo, docs/benchmarks.md)"
    )
    fleet.add_argument("--preset", choices=sorted(PRESETS), default="h100-8b", help="costs of the default engine (h100-8b)")
    fleet.add_argument("--replicas", type=_count, default=8, help="number of equal replicas (default: 8)")
    fleet.add_argument("--kv-tokens", type=_count, default=500_000, help="KV capacity of each in tokens (default: 500000)")
    fleet.add_argument("--prefill-rate", type=_rate, default=8000.0, help="fifo: tokens a second of each (default: 8000)")
    fleet.add_argument(
        "--replica", action="append", type=_replica, metavar="kv=N,rate=N", help="one replica of its own; instead of --replicas"
    )

    live = parser.add_argument_group("running proxy")
    live.add_argument("--url", help="send the trace here over HTTP, pseudo-words for its blocks, instead of a virtual fleet")
    live.add_argument("--model", help="model to ask for (default: the first that the proxy serves)")

    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    output.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw hit ratio and first-token time: .svg, or .png (matplotlib)"
    )


def check(args: argparse.Namespace) -> None:
    """Raise `OptionError` where options contradict each other, before any work is done."""
    if args.url and args.policy:
        raise OptionError("--policy is the running proxy's own choice: it goes with `turnwise serve`, not with --url")
    if args.url and not args.url.startswith("http://"):
        raise OptionError(f"--url must begin with http://, not be {args.url!r}")
    if args.plot and args.plot.suffix not in {".svg", ".png"}:
        raise OptionError(f"--plot writes .svg and .png, not {args.plot.name!r}")
    for file in (args.json, args.plot):
        if file and not file.absolute().parent.is_dir():
            raise OptionError(f"there is no folder {str(file.parent)!r} to write {file.name} to")


def policies_of(args: argparse.Namespace) -> dict[str, PolicySettings]:
    """Settings of each run by the words that chose it; raises `OptionError` naming what is wrong."""
    chosen: Sequence[str] = args.policy or DEFAULT_POLICIES
    found: dict[str, PolicySettings] = {}
    for words in chosen:
        name, _, rest = words.partition(":")
        if name not in get_args(PolicyName):
            raise OptionError(f"--policy {words}: there is no policy {name!r}; there are {', '.join(get_args(PolicyName))}")
        fields = {"name": name}
        for field in filter(None, rest.split(",")):
            key, separator, value = field.partition("=")
            if not separator or key == "name":
                raise OptionError(f"--policy {words}: {field!r} is not KEY=VALUE")
            fields[key] = value
        try:
            found[words] = msgspec.convert(fields, PolicySettings, strict=False)
        except msgspec.ValidationError as error:
            raise OptionError(f"--policy {words}: {error}") from None
    return found


def pacing_of(args: argparse.Namespace, trace: Trace) -> Pacing:
    """When calls are sent; raises `OptionError` where the trace does not say."""
    if args.open and not trace.has_clock:
        raise OptionError(f"--open: {trace.name} does not say when its sessions began, relative to each other; use --closed")
    return Pacing(
        is_open=trace.has_clock and not args.closed,
        live=args.live,
        ramp_s=args.ramp,
        think_cap_s=args.think_cap,
        speedup=args.speedup,
        seed=args.seed,
    )


def fleet_of(args: argparse.Namespace) -> VirtualFleet:
    """The replicas to play on."""
    equal = (ReplicaSize(args.kv_tokens, args.prefill_rate),) * args.replicas
    return VirtualFleet(engine=args.engine, replicas=tuple(args.replica or equal), preset=args.preset)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be seconds, not {text}")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def _replica(text: str) -> ReplicaSize:
    fields = dict(field.partition("=")[::2] for field in text.split(","))
    if set(fields) != {"kv", "rate"}:
        raise argparse.ArgumentTypeError(f"is kv=TOKENS,rate=TOKENS_PER_S, not {text!r}")
    return ReplicaSize(_count(fields["kv"]), _rate(fields["rate"]))
