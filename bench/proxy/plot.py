"""Bars of a run as SVG by hand, so that nothing need be installed: what each target costs, what it adds, how it streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import msgspec
from bench.proxy.bars import cpu
from bench.proxy.peers import DIRECT
from bench.proxy.results import Run, Sample
from bench.proxy.scenarios import SCENARIOS

LABEL, PANEL, GAP, ROW, TOP = 180, 240, 90, 26, 70
OURS, OTHERS, INK, FAINT = "#1f6f8b", "#b8c4cc", "#22313a", "#6b7a83"


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
    parts = [_text(16, 24, title, size=15, weight="bold")]
    parts += [_text(LABEL - 10, TOP + ROW * row + 14, name, anchor="end") for row, name in enumerate(rows)]
    for column, panel in enumerate(panels):
        left = LABEL + column * (PANEL + GAP)
        longest = max([value for value in panel.values if value is not None], default=0.0) or 1.0
        parts.append(_text(left, TOP - 14, panel.title, size=11, fill=FAINT))
        for row, value in enumerate(panel.values):
            if value is not None:
                y, width = TOP + row * ROW, max(1.0, value / longest * PANEL)
                fill = OURS if rows[row].startswith("Turnwise") else OTHERS
                parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="19" rx="2" fill="{fill}"/>')
                parts.append(_text(left + width + 5, y + 14, f"{value:,.0f}" if value >= 100 else f"{value:.3g}"))
    width, height = LABEL + len(panels) * (PANEL + GAP), TOP + ROW * len(rows) + 12
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _text(
    x: float, y: float, said: str, *, size: int = 12, anchor: str = "start", fill: str = INK, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}">'
        f"{escape(said)}</text>"
    )
