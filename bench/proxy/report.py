"""A run as Markdown: the bars, CPU beside nginx, each scenario in full, memory, and how each target was run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.proxy import plot
from bench.proxy.bars import after_first_minute, cpu, growth, judge
from bench.proxy.peers import DIRECT, NGINX, ROOT
from bench.proxy.processes import Memory
from bench.proxy.results import Run, Sample, Target
from bench.proxy.scenarios import NUM_CHUNKS, NUM_PROMPTS, SCENARIOS, Scenario

PAPER = ROOT / "docs/benchmarks.md"
PLOTS = ROOT / "docs/plots"
PART = re.compile(r"(<!-- measured: proxy -->\n).*?(<!-- end -->)", re.DOTALL)

METHOD = f"""\
The router runs on one core, the generator and two mock replicas on another. All targets stand from the start, and each
scenario visits them one after another, round after round. CPU time is that of the router's process tree, as the scheduler
counts it; ratios to nginx and differences to no router are taken within a round, and every figure is the median over rounds.
Prompts of 1 KB are {NUM_PROMPTS:,} distinct ones in turn. In a conversation of 600 KB (12 turns, tools, tool calls and their
results) each turn sent is new and extends one that was sent before. Streams are {NUM_CHUNKS} chunks each; transit is the time
from replica to client. Errors are sums over rounds.
"""


def renew_paper(run: Run, paper: Path = PAPER, plots: Path = PLOTS) -> None:
    """Write a run's tables between the paper's marks, and its plots; raises `ValueError` where the paper has no marks."""
    text = paper.read_text(encoding="utf-8")
    if not PART.search(text):
        raise ValueError(f"{paper} has no <!-- measured: proxy --> ... <!-- end -->")
    drawn = plot.draw(run)
    for name, svg in drawn.items():
        (plots / name).write_text(svg, encoding="utf-8")
    images = "".join(f"\n![{name.removesuffix('.svg').replace('-', ' ')}](plots/{name})\n" for name in drawn)
    paper.write_text(PART.sub(lambda part: part[1] + markdown(run) + images + part[2], text), encoding="utf-8")


def markdown(run: Run) -> str:
    """All tables of a run."""
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in run.scenarios]
    parts = [
        _preamble(run, scenarios),
        _table(
            ["measure", "bar", "measured", "holds"],
            [[bar.measure, bar.bar, bar.measured, {True: "yes", False: "**no**", None: ""}[bar.holds]] for bar in judge(run)],
        ),
        "CPU microseconds of the process tree, a request or a chunk, and how many times nginx's (medians of rounds):\n",
        _overview(run, scenarios),
        *(f"#### {scenario.title}\n\n{_in_full(run, scenario)}" for scenario in scenarios),
        f"#### Memory of the process tree, MiB resident (proportional)\n\n{_memory(run)}",
        f"#### How each was run\n\n{_targets(run)}",
    ]
    return "\n".join(parts)


def _preamble(run: Run, scenarios: Sequence[Scenario]) -> str:
    machine = run.machine
    limits = [
        f"{scenario.title}: {rate:,.0f} {scenario.unit}s/s"
        for scenario in scenarios
        if (rate := run.median(scenario.name, DIRECT, _rate)) is not None
    ]
    limit = f"\nThe generator's own limit, without a router: {'; '.join(limits)}.\n" if limits else ""
    return (
        f"```sh\n{run.command}\n```\n\n"
        f"{run.began[:10]}, commit {run.commit}{' with changes' if run.is_dirty else ''}; {machine['cores']} cores of "
        f"{machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}; seed {run.seed}, {run.rounds} rounds of "
        f"about {run.seconds:g} s a sample.\n\n{METHOD}{limit}"
    )


def _overview(run: Run, scenarios: Sequence[Scenario]) -> str:
    def cell(target: Target, scenario: Scenario) -> str:
        cost = run.median(scenario.name, target.name, cpu)
        over = run.ratio(scenario.name, target.name, NGINX, cpu)
        return "" if cost is None else f"{_figure(cost)}" + ("" if over is None else f" ({over:.2f})")

    rows = [[_name(target), *(cell(target, scenario) for scenario in scenarios)] for target in _routers(run)]
    return _table(["", *(scenario.title for scenario in scenarios)], rows)


def _in_full(run: Run, scenario: Scenario) -> str:
    def median(name: str, read: Callable[[Sample], float | None], scale: float = 1.0) -> str:
        value = run.median(scenario.name, name, read)
        return "" if value is None else _figure(value / scale)

    def added(name: str, read: Callable[[Sample], float | None]) -> str:
        value = run.added(scenario.name, name, DIRECT, read)
        return "" if value is None else f"{value / 1e3:.3f}"

    def errors(name: str) -> str:
        return f"{sum(one.load.errors for one in run.of(scenario.name, name)):,}"

    def over(name: str) -> str:
        value = run.ratio(scenario.name, name, NGINX, cpu)
        return "" if value is None else f"{value:.2f}"

    head = ["", f"CPU µs a {scenario.unit}", "over nginx", f"{scenario.unit}s/s"]
    rows = [[_name(one), median(one.name, cpu), over(one.name), median(one.name, _rate)] for one in run.targets]
    if scenario.num_chunks:
        head += ["first chunk p50 ms", "p99 ms", "transit p50 ms", "p99 ms", "errors"]
        more = [
            [
                median(one.name, lambda sample: sample.load.first_chunk_p50_us, 1e3),
                median(one.name, lambda sample: sample.load.first_chunk_p99_us, 1e3),
                median(one.name, lambda sample: sample.load.transit_p50_us, 1e3),
                median(one.name, lambda sample: sample.load.transit_p99_us, 1e3),
                errors(one.name),
            ]
            for one in run.targets
        ]
    else:
        head += ["added p50 ms", "added p99 ms", "errors"]
        more = [
            [
                added(one.name, lambda sample: sample.load.latency_p50_us),
                added(one.name, lambda sample: sample.load.latency_p99_us),
                errors(one.name),
            ]
            for one in run.targets
        ]
    return _table(head, [row + rest for row, rest in zip(rows, more, strict=True)])


def _memory(run: Run) -> str:
    rows: list[list[str]] = []
    for target in _routers(run):
        samples = [one for one in run.samples if one.target == target.name]
        minute = after_first_minute(run, target.name)
        grown = growth(run, target.name)
        rows.append(
            [
                _name(target),
                _mib(target.idle_memory),
                _mib(minute.memory if minute else None),
                _mib(samples[-1].memory if samples else None),
                "" if grown is None else f"{grown:.2f}",
            ]
        )
    return _table(["", "idle", "after a minute of load", "at the end", "end over minute"], rows)


def _targets(run: Run) -> str:
    rows = [
        [target.title, target.version, f"`{target.command}`" if target.command else "", target.missing or target.note]
        for target in run.targets
    ]
    return _table(["", "version", "command", "settings"], rows)


def _routers(run: Run) -> list[Target]:
    return [target for target in run.targets if target.name != DIRECT]


def _name(target: Target) -> str:
    return f"{target.title} (not measured: {target.missing})" if target.missing else target.title


def _rate(sample: Sample) -> float | None:
    units = sample.load.chunks or sample.load.requests
    return units / sample.load.elapsed_s if sample.load.elapsed_s else None


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _mib(memory: Memory | None) -> str:
    return "" if memory is None else f"{memory.rss_kib / 1024:.1f} ({memory.pss_kib / 1024:.1f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
