"""Bars of a run as SVG: what each target costs, what it adds, how it streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from bench.proxy.bars import cpu
from bench.proxy.peers import DIRECT
from bench.proxy.results import Run, Sample
from bench.proxy.scenarios import SCENARIOS

from turnwise.proxy.replay.svg import FAINT, OTHERS, OURS, bar, page, text

LABEL, PANEL, GAP, ROW, TOP = 180, 240, 90, 26, 70


class Panel(msgspec.Struct, frozen=True):
    """One column of bars: a value for each row, None where there is none."""

    title: str
    values: tuple[float | None, ...]


def draw(run: Run) -> dict[str, str]:
    """The plots of a run by file name."""
    titles = {scenario.name: scenario.title for scenario in SCENARIOS}
    targets = [target for target in run.targets if target.name != DIRECT and not target.missing]
    rows = [target.title.strip("*") for target in targets]

    def panel(scenario: str, unit: str, read: Callable[[Sample], float | None]) -> Panel:
        values = tuple(run.median(scenario, target.name, read) for target in targets)
        return Panel(title=f"{titles[scenario]}: {unit}", values=values)

    def added(scenario: str) -> Panel:
        more = (run.added(scenario, target.name, DIRECT, lambda one: one.load.latency_p50_us) for target in targets)
        return Panel(title=titles[scenario], values=tuple(None if value is None else value / 1e3 for value in more))

    plots = {
        "proxy-cpu.svg": (
            "CPU of the router, microseconds a request or a chunk",
            [panel(name, "µs", cpu) for name in ("small64", "next600k", "stream2ms") if name in run.scenarios],
        ),
        "proxy-added.svg": (
            "Latency added to one connection, p50, milliseconds",
            [added(name) for name in ("small1", "100k", "next600k") if name in run.scenarios],
        ),
    }
    return {name: svg(title, rows, panels) for name, (title, panels) in plots.items() if panels and rows}


def svg(title: str, rows: Sequence[str], panels: Sequence[Panel]) -> str:
    """Panels side by side, each scaled to its longest bar."""
    parts = [text(16, 24, title, size=15, weight="bold")]
    parts += [text(LABEL - 10, TOP + ROW * row + 14, name, anchor="end") for row, name in enumerate(rows)]
    for column, panel in enumerate(panels):
        left = LABEL + column * (PANEL + GAP)
        longest = max([value for value in panel.values if value is not None], default=0.0) or 1.0
        parts.append(text(left, TOP - 14, panel.title, size=11, fill=FAINT))
        for row, value in enumerate(panel.values):
            if value is not None:
                y, width = TOP + row * ROW, value / longest * PANEL
                parts.append(bar(left, y, width, OURS if rows[row].startswith("Turnwise") else OTHERS, height=19))
                parts.append(text(left + width + 5, y + 14, f"{value:,.0f}" if value >= 100 else f"{value:.3g}"))
    return page(LABEL + len(panels) * (PANEL + GAP), TOP + ROW * len(rows) + 12, parts)
