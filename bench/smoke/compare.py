"""What was counted against the baseline: a row for each counter of each scene, and what fails. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from bench.smoke.count import COUNTERS

FAILS_ABOVE = 2.0
"""Times its baseline above which a counter fails; counts repeat within a few in a hundred, so this is no noise."""
HINTS_BELOW = 0.5
"""Times its baseline below which the baseline no longer guards what was won."""

Counted = Mapping[str, Mapping[str, float]]
"""Figures for one unit of work by scene and counter."""


class Row(msgspec.Struct, frozen=True):
    """One counter of one scene; None where a side does not have it."""

    scene: str
    counter: str
    baseline: float | None
    now: float | None

    @property
    def ratio(self) -> float | None:
        """How many times its baseline it is now; None where there is nothing to compare with."""
        return None if self.now is None or not self.baseline else self.now / self.baseline

    @property
    def failure(self) -> str | None:
        """A sentence that says why it fails, None where it does not."""
        name = f"{self.scene}: {self.counter}"
        if self.baseline is None:
            return f"{name} has no baseline, so nothing guards it: add it with --update"
        if self.now is None:
            return f"{name} stands in the baseline and is not counted: take it out with --update if that is meant"
        allowance = COUNTERS[self.counter].allowance if self.counter in COUNTERS else 0.0
        if self.now <= max(FAILS_ABOVE * self.baseline, self.baseline + allowance):
            return None
        ratio = f"{self.ratio:.1f} times the" if self.ratio is not None else "above a"
        return (
            f"{name} is {figure(self.now)}, {ratio} baseline of {figure(self.baseline)}; at most {FAILS_ABOVE:g} times may be"
        )

    @property
    def hint(self) -> str | None:
        """A sentence that asks for a new baseline, None where the one there is still guards."""
        if self.ratio is None or self.ratio >= HINTS_BELOW:
            return None
        return f"{self.scene}: {self.counter} has fallen to {self.ratio:.2f} of its baseline: keep it there with --update"


def compare(baseline: Counted, now: Counted) -> list[Row]:
    """A row for each counter that either side has, in the order of `now`; what only the baseline has comes last."""
    return [
        Row(scene, counter, baseline.get(scene, {}).get(counter), now.get(scene, {}).get(counter))
        for scene, counter in dict.fromkeys((*_keys(now), *_keys(baseline)))
    ]


def table(rows: list[Row]) -> str:
    """The rows in columns."""
    cells = [("scene", "counter", "baseline", "now", "ratio")]
    cells += [
        (row.scene, row.counter, figure(row.baseline), figure(row.now), "" if row.ratio is None else f"{row.ratio:.2f}")
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def figure(value: float | None) -> str:
    """A count as people read it."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def _keys(counted: Counted) -> Iterator[tuple[str, str]]:
    return ((scene, counter) for scene, counters in counted.items() for counter in counters)
