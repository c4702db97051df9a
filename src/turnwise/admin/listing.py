"""Tables of the commands that list what runs, cut to the width of the console."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

MIN_NAME = 16
GAP = 2
"""Cells between two columns."""


class Line(msgspec.Struct, frozen=True):
    """One line of a table."""

    cells: dict[str, Text]
    """By heading, in the same order in each line."""
    style: str = ""


class Listing:
    """Lines under their headings; `name` is the column that takes what room the others leave, and is cut where it needs more.

    What a narrow console has no room for is left out, from `dispensable` in its order.
    """

    def __init__(self, lines: Sequence[Line], *, name: str, dispensable: Sequence[str], left: Collection[str] = ()) -> None:
        self._lines = lines
        self._name = name
        self._dispensable = dispensable
        self._left = {name, *left}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        headings = list(self._lines[0].cells)
        widths = {
            heading: max(len(heading), *(line.cells[heading].cell_len for line in self._lines))
            for heading in headings
            if heading != self._name
        }
        for heading in self._dispensable:
            if sum(widths.values()) + GAP * len(widths) + MIN_NAME <= options.max_width:
                break
            del widths[heading]
        room = max(MIN_NAME, options.max_width - sum(widths.values()) - GAP * len(widths))
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        shown = [heading for heading in headings if heading == self._name or heading in widths]
        for heading in shown:
            table.add_column(
                heading,
                justify="left" if heading in self._left else "right",
                no_wrap=True,
                overflow="ellipsis",
                max_width=room if heading == self._name else None,
            )
        for line in self._lines:
            table.add_row(*(line.cells[heading] for heading in shown), style=line.style)
        yield table
