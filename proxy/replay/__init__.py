"""`turnwise replay`: a recorded trace on a fleet of engines, one run for each policy, and beside them what none could beat.

`formats` reads a file into a `Trace`; `drive` decides when its calls are sent; `virtual` sends them through the whole proxy on
a virtual clock, `live` to a running proxy over HTTP; `results` reduces what came back, `bounds` computes what was possible.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from turnwise.proxy.replay import options, report
from turnwise.proxy.replay.bounds import Bounds, bounds
from turnwise.proxy.replay.drive import Pacing
from turnwise.proxy.replay.formats import read_trace
from turnwise.proxy.replay.live import model_of, replay_live
from turnwise.proxy.replay.options import OptionError, add_arguments
from turnwise.proxy.replay.plot import write_plot
from turnwise.proxy.replay.results import CallResult, ReplayError, Summary, summarize
from turnwise.proxy.replay.trace import Trace, TraceError
from turnwise.proxy.replay.virtual import VirtualFleet, replay_virtual
from turnwise.settings import PolicySettings

__all__ = ["DESCRIPTION", "add_arguments", "run"]

DESCRIPTION = (
    "Replay a recorded trace through the proxy, once for each policy: on engines in memory and a virtual clock, where an hour "
    "takes seconds, or with --url against a running proxy."
)
DEFAULT_WEKA_SESSIONS = 250
CALLS_PER_UPDATE = 32
"""Calls between two updates of the progress bar."""

OnCall = Callable[[CallResult], None]


class _Run(NamedTuple):
    """One run: its name, and what plays it; the number of replicas is None where only the answers tell."""

    name: str
    num_replicas: int | None
    play: Callable[[OnCall], list[CallResult]]


def run(args: argparse.Namespace) -> int:
    """Replay as parsed; returns 0, 1 where the fleet or a file to write failed, 2 where the trace or an option is wrong."""
    try:
        _replay(args)
    except (OptionError, TraceError) as error:
        return _fail(error, 2)
    except ReplayError as error:
        return _fail(error, 1)
    return 0


def _replay(args: argparse.Namespace) -> None:
    options.check(args)
    policies = options.policies_of(args)
    trace = _read(args)
    pacing = options.pacing_of(args, trace)
    if args.url:
        model = args.model or asyncio.run(model_of(args.url))
        where, runs, pool_tokens = args.url, [_live(args.url, model, trace, pacing)], None
    else:
        fleet = options.fleet_of(args)
        where = report.replicas_in_words(fleet.engine, [(size.kv_tokens, size.prefill_tokens_per_s) for size in fleet.replicas])
        runs = [_virtual(name, policy, fleet, trace, pacing) for name, policy in policies.items()]
        pool_tokens = sum(size.kv_tokens for size in fleet.replicas)
    summaries, limits = _play_all(runs, trace, pool_tokens)
    result = report.Report(
        trace=trace.name,
        format=trace.format,
        num_calls=trace.num_calls,
        num_sessions=len(trace.sessions),
        fleet=where,
        pacing=_pacing_in_words(pacing),
        seed=args.seed,
        runs=summaries,
        bounds=limits,
    )
    Console().print(result.to_table())
    _write(args, result)


def _read(args: argparse.Namespace) -> Trace:
    trace = read_trace(args.trace, args.format)
    count = args.sessions or (DEFAULT_WEKA_SESSIONS if trace.format == "weka" else None)
    if count is not None:
        trace = trace.sample(count, args.seed)
        if not trace.sessions:
            raise TraceError(str(args.trace), None, "has no session of two calls or more")
    return trace if args.limit is None else trace.first(args.limit)


def _virtual(name: str, policy: PolicySettings, fleet: VirtualFleet, trace: Trace, pacing: Pacing) -> _Run:
    return _Run(name, len(fleet.replicas), lambda on_call: replay_virtual(trace, fleet, policy, pacing, on_call))


def _live(url: str, model: str, trace: Trace, pacing: Pacing) -> _Run:
    return _Run(url, None, lambda on_call: asyncio.run(replay_live(trace, url, model, pacing, on_call)))


def _play_all(runs: list[_Run], trace: Trace, pool_tokens: int | None) -> tuple[tuple[Summary, ...], Bounds | None]:
    """Play every run with progress; bounds are for calls in the order in which the first run sent them."""
    summaries: list[Summary] = []
    limits: Bounds | None = None
    with _progress() as progress:
        for entry in runs:
            began = time.perf_counter()
            results = _play(entry, trace, progress)
            wall_s = time.perf_counter() - began
            num_replicas = entry.num_replicas or len({result.replica for result in results})
            summaries.append(summarize(entry.name, results, num_replicas=num_replicas, wall_s=wall_s))
            if pool_tokens is not None and limits is None:
                calls = [result.call for result in results]
                limits = bounds(calls, max(1, pool_tokens // trace.block_size), trace.block_size)
    return tuple(summaries), limits


def _play(entry: _Run, trace: Trace, progress: Progress) -> list[CallResult]:
    task = progress.add_task(entry.name, total=trace.num_calls, seen="")
    count = cached = prompt = 0

    def on_call(result: CallResult) -> None:
        nonlocal count, cached, prompt
        count += 1
        cached += result.cached_tokens
        prompt += result.prompt_tokens
        if count % CALLS_PER_UPDATE == 0:
            progress.update(task, completed=count, seen=f"{cached / prompt:.1%} cached")

    try:
        results = entry.play(on_call)
    except BaseExceptionGroup as group:
        raise _cause(group) from None
    progress.update(task, completed=count)
    return results


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("calls"))
    return Progress(*columns, TextColumn("{task.fields[seen]}"), TimeElapsedColumn(), console=Console(stderr=True))


def _pacing_in_words(pacing: Pacing) -> str:
    return report.pacing_in_words(
        is_open=pacing.is_open, live=pacing.live, think_cap_s=pacing.think_cap_s, speedup=pacing.speedup
    )


def _write(args: argparse.Namespace, result: report.Report) -> None:
    if args.json:
        try:
            args.json.write_bytes(result.to_json())
        except OSError as error:
            raise ReplayError(f"cannot write {args.json}: {error.strerror}") from None
    if args.plot:
        write_plot(args.plot, result)


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that ended a run: the first inside the groups of its tasks, for all others follow from it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(error: BaseException, status: int) -> int:
    sys.stderr.write(f"turnwise replay: {error}\n")
    return status
