"""The rows as a part of a paper."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from bench.knowledge.row import Row


class Result(msgspec.Struct, frozen=True):
    """One run of a benchmark that is a table of rows."""

    commit: str
    machine: str
    python: str
    seed: int
    load_average: float
    """Of one minute, when the run began."""
    rows: list[Row]


def markdown(result: Result) -> str:
    """The section's table, and what each row was made of."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    yield (
        f"Commit {result.commit}, seed {result.seed}, {result.machine}, {result.python} (load {result.load_average:.1f} when "
        "it began). Every ratio is to a yardstick in the same run, taken in turns; medians."
    )
    yield ""
    yield "| measure | bar | measured | |"
    yield "|---|---|---|---|"
    for row in result.rows:
        yield f"| {row.title} | {row.bar} | {row.measured} | {'holds' if row.holds else '**fails**'} |"
    for row in result.rows:
        figures = ", ".join(f"{name} {_figure(value)}" for name, value in row.figures.items())
        yield ""
        yield f"**{row.title[0].upper()}{row.title[1:]}.** {row.how} {figures[0].upper()}{figures[1:]}."


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
