"""Bars of hit ratio and first-token time by policy: as SVG, or as PNG where matplotlib is."""

from __future__ import annotations

from pathlib import Path

from turnwise.proxy.replay.report import Report
from turnwise.proxy.replay.results import ReplayError
from turnwise.proxy.replay.svg import FAINT, INK, OTHERS, OURS, TAIL, bar, page, text

WIDTH = 760
ROW = 30
LABEL = 130
PANEL = 270
GAP = 60
TOP = 96


def write_plot(path: Path, report: Report) -> None:
    """Write a plot as the file's name says; raises `ReplayError` where it cannot."""
    try:
        if path.suffix == ".svg":
            path.write_text(svg(report), encoding="utf-8")
        else:
            _write_png(path, report)
    except OSError as error:
        raise ReplayError(f"cannot write {path}: {error.strerror}") from None


def svg(report: Report) -> str:
    """One row for each policy: on the left its hit ratio, on the right its time to first token, mean and (in grey) p99."""
    summaries, limits = report.runs, report.bounds
    bottom = TOP + ROW * len(summaries)
    best_hit = max([summary.hit_ratio for summary in summaries] + ([limits.pooled_lru] if limits else []))
    longest_s = max(summary.first_token_p99_s for summary in summaries)
    left, right = LABEL, LABEL + PANEL + GAP
    parts = [
        text(16, 26, report.title, size=15, weight="bold"),
        text(16, 46, report.subtitle, fill=FAINT),
        text(left, TOP - 22, "hit ratio, by tokens", fill=FAINT),
        text(right, TOP - 22, "time to first token: mean, and p99 in grey", fill=FAINT),
    ]
    for row, summary in enumerate(summaries):
        y = TOP + row * ROW
        fill = OURS if summary.policy.startswith("kv_aware") else OTHERS
        parts += [
            text(LABEL - 10, y + 15, summary.policy, anchor="end"),
            bar(left, y, summary.hit_ratio / (best_hit or 1) * PANEL * 0.82, fill),
            text(left + summary.hit_ratio / (best_hit or 1) * PANEL * 0.82 + 6, y + 15, f"{summary.hit_ratio:.3f}"),
            bar(right, y + 8, summary.first_token_p99_s / (longest_s or 1) * PANEL * 0.78, TAIL, height=6),
            bar(right, y, summary.first_token_mean_s / (longest_s or 1) * PANEL * 0.78, fill),
            text(
                right + summary.first_token_p99_s / (longest_s or 1) * PANEL * 0.78 + 6,
                y + 15,
                f"{summary.first_token_mean_s:.2f} s",
            ),
        ]
    if limits is not None:
        x = left + limits.pooled_lru / (best_hit or 1) * PANEL * 0.82
        parts.append(
            f'<path d="M{x:.1f} {TOP - 8}V{bottom}" stroke="{INK}" stroke-dasharray="3 3" fill="none"/>'
            + text(x, bottom + 16, f"pooled LRU {limits.pooled_lru:.3f}", anchor="middle", fill=FAINT)
        )
    height = bottom + 34
    return page(WIDTH, height, parts)


def _write_png(path: Path, report: Report) -> None:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra: `pip install turnwise[plot]`
    except ImportError:
        raise ReplayError(f"{path.name} needs matplotlib (pip install 'turnwise[plot]'); a name in .svg does not") from None
    summaries = report.runs
    figure = Figure(figsize=(9, 0.45 * len(summaries) + 1.6), layout="constrained")
    hits, waits = figure.subplots(1, 2, sharey=True)
    names = [summary.policy for summary in summaries]
    colours = [OURS if name.startswith("kv_aware") else OTHERS for name in names]
    hits.barh(names, [summary.hit_ratio for summary in summaries], color=colours)
    hits.set_xlabel("hit ratio, by tokens")
    hits.invert_yaxis()
    waits.barh(names, [summary.first_token_mean_s for summary in summaries], color=colours)
    waits.set_xlabel("mean time to first token, s")
    figure.suptitle(f"{report.title}\n{report.subtitle}", fontsize=10)
    figure.savefig(path, dpi=144)
