"""The bars that the proxy must hold against its peers, each judged from one run."""

from __future__ import annotations

import msgspec
from bench.proxy.peers import KV_AWARE, NGINX, ROUND_ROBIN
from bench.proxy.results import Run, Sample

FIRST_MINUTE_S = 60.0
MIN_LOADED_S = 90.0
"""A run that loads a target for less says nothing of growth after its first minute."""


class Bar(msgspec.Struct, frozen=True):
    """A measure, what it must be, what it was; `holds` is None where the run did not measure it."""

    measure: str
    bar: str
    measured: str
    holds: bool | None


def judge(run: Run) -> list[Bar]:
    """Every bar, in the order of the tables."""
    titles = {target.name: target.title.strip("*") for target in run.targets}
    small, long = cheapest_rust(run, "small64"), cheapest_rust(run, "next600k")
    small_title, long_title = (titles[name] if name else "none measured" for name in (small, long))
    first_us = run.added("stream2ms", KV_AWARE, NGINX, lambda one: one.load.first_chunk_p50_us)
    return [
        _at_most("CPU a request, 1 KB, 64 connections, over nginx", 2.0, _cpu_ratio(run, "small64", NGINX)),
        _at_most(
            f"the same over the cheapest cache-aware router ({small_title})",
            0.4,
            _cpu_ratio(run, "small64", small),
        ),
        _at_most("CPU a chunk, 64 streams at 2 ms, over nginx", 1.3, _cpu_ratio(run, "stream2ms", NGINX)),
        _at_most("first chunk p50 there, ms more than nginx", 0.2, None if first_us is None else first_us / 1e3),
        _at_most(
            "first chunk p99 there, over nginx, of the medians of rounds",
            4.0,
            _ratio_of_medians(run, "stream2ms", KV_AWARE, NGINX),
        ),
        _at_most(
            f"CPU of the next turn of 600 KB over the cheapest cache-aware router ({long_title})",
            0.5,
            _cpu_ratio(run, "next600k", long),
        ),
        *(
            _at_most(
                f"resident memory at the end over after the first minute of load, {titles.get(name, name)}",
                1.1,
                growth(run, name),
            )
            for name in (ROUND_ROBIN, KV_AWARE)
        ),
        _no_errors(run),
    ]


def cheapest_rust(run: Run, scenario: str) -> str | None:
    """The cache-aware Rust router of least CPU in a scenario, by the median of its rounds."""
    costs = {
        target.name: cost
        for target in run.targets
        if target.is_rust_cache_aware and (cost := run.median(scenario, target.name, cpu)) is not None
    }
    return min(costs, key=lambda name: costs[name]) if costs else None


def growth(run: Run, target: str) -> float | None:
    """Resident memory after the last sample over that after a minute of load; None where the run is too short to tell."""
    samples = [one for one in run.samples if one.target == target]
    if not samples or samples[-1].loaded_s < MIN_LOADED_S:
        return None
    first, last = after_first_minute(run, target), samples[-1].memory
    return last.rss_kib / first.memory.rss_kib if first and first.memory and last else None


def after_first_minute(run: Run, target: str) -> Sample | None:
    """The first sample of a target at whose end it had been loaded for a minute."""
    return next((one for one in run.samples if one.target == target and one.loaded_s >= FIRST_MINUTE_S), None)


def cpu(sample: Sample) -> float | None:
    """CPU microseconds a request or a chunk."""
    return sample.cpu_us_per_unit


def _cpu_ratio(run: Run, scenario: str, to: str | None) -> float | None:
    return run.ratio(scenario, KV_AWARE, to, cpu) if to else None


def _ratio_of_medians(run: Run, scenario: str, target: str, to: str) -> float | None:
    ours, theirs = (run.median(scenario, name, lambda one: one.load.first_chunk_p99_us) for name in (target, to))
    return ours / theirs if ours is not None and theirs else None


def _at_most(measure: str, limit: float, measured: float | None) -> Bar:
    return Bar(
        measure=measure,
        bar=f"at most {limit:g}",
        measured="not measured" if measured is None else f"{measured:.2f}",
        holds=None if measured is None else measured <= limit,
    )


def _no_errors(run: Run) -> Bar:
    samples = [one for one in run.samples if one.target in (ROUND_ROBIN, KV_AWARE)]
    errors = sum(one.load.errors for one in samples)
    requests = sum(one.load.requests for one in samples)
    return Bar(
        measure=f"errors of Turnwise in {requests:,} requests",
        bar="none",
        measured=str(errors) if samples else "not measured",
        holds=errors == 0 if samples else None,
    )
