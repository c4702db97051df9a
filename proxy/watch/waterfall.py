"""A program's time as lines of text: a row for each call, tool and gap, as a browser's network panel has them.

In colour a cell says its cause by its colour, and whether it is on the critical path by being full; without colour by a letter,
which is large on the path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from turnwise.admin.words import clean, share, span
from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.programs.outline import OutlineRow
from turnwise.proxy.programs.waterfall import Bar, RowKind
from turnwise.proxy.watch.words import tokens

STYLES = {
    Cause.CLIENT: ("c", "bright_black"),
    Cause.INGEST: ("i", "white"),
    Cause.QUEUE: ("q", "yellow"),
    Cause.ROUTE: ("r", "bright_magenta"),
    Cause.CONNECT: ("n", "bright_red"),
    Cause.PREFILL: ("p", "blue"),
    Cause.DECODE: ("d", "green"),
    Cause.TAIL: ("e", "bright_green"),
    Cause.TOOL_QUEUE: ("w", "red"),
    Cause.TOOL_RUN: ("t", "magenta"),
    Cause.JOIN_WAIT: ("j", "bright_yellow"),
    Cause.UNATTRIBUTED: ("u", "bright_black"),
}
"""Letter and colour of each cause."""

FAILED, ON_PATH = "\N{BALLOT X}", "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
"""What stands before a row that failed, and before one that is on the critical path."""

SHORT = 0.01
"""Share of the makespan below which a gap has no line, unless they are asked for."""

MIN_BAR = 20
MAX_NAME = 36
MARGIN = 2
"""Cells between two columns."""


class Waterfall:
    """The rows of one program drawn as wide as the console is; `ftr_s` is where the answer's first token is marked."""

    def __init__(self, rows: Sequence[OutlineRow], makespan_s: float, ftr_s: float | None, *, with_gaps: bool = False) -> None:
        self.left_out = 0 if with_gaps else sum(_is_short(row, makespan_s) for row in rows)
        """Gaps that have no line."""
        self._rows = [row for row in rows if with_gaps or not _is_short(row, makespan_s)]
        self._length = max(makespan_s, 1e-9)
        self._ftr_s = ftr_s

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        is_plain = console.no_color or console.color_system is None
        name_width = min(MAX_NAME, max(12, width // 3), max((2 + len(_label(row)) for row in self._rows), default=12))
        columns = [("", name_width)]
        if how_width := max((len(_how(row)) for row in self._rows), default=0):
            columns.append(("run", how_width))
        for heading, least in (("replica", 110), ("prompt, hit", 90), ("time", 0)):
            if width >= least:
                columns.append((heading, max(len(heading), *(min(16, len(FIGURES[heading](row))) for row in self._rows))))
        bar = max(MIN_BAR, width - sum(cells + MARGIN for _, cells in columns))
        yield from self._heading(columns, bar)
        for row in self._rows:
            line = self._words(row, columns)
            line.append_text(self._bar(row, bar, is_plain=is_plain))
            line.truncate(width)
            yield line

    def _heading(self, columns: Sequence[tuple[str, int]], bar: int) -> Iterator[Text]:
        line = Text(no_wrap=True)
        for heading, width in columns:
            line.append((heading.ljust(width) if heading in LEFT else heading.rjust(width)) + " " * MARGIN)
        cells = [" "] * bar
        ticks = max(1, bar // 14)
        for number in range(ticks):
            _write(cells, number * bar // ticks, "\N{BOX DRAWINGS LIGHT VERTICAL}" + span(self._length * number / ticks))
        line.append("".join(cells))
        line.stylize("dim")
        yield line
        if self._ftr_s is not None:
            cells = [" "] * bar
            at = self._cell(self._ftr_s, bar)
            said = f"FTR {span(self._ftr_s)} "
            _write(cells, max(0, at - len(said)), said if at >= len(said) else "")
            cells[at] = "\N{BLACK DOWN-POINTING TRIANGLE}"
            indent = sum(width + MARGIN for _, width in columns)
            yield Text(" " * indent + "".join(cells).rstrip(), "bold red", no_wrap=True)

    def _words(self, row: OutlineRow, columns: Sequence[tuple[str, int]]) -> Text:
        mark = (ON_PATH if row.on_path else " ") + (FAILED if row.reason else " ")
        line = Text(no_wrap=True)
        name_width = columns[0][1]
        name = Text(f"{mark}{_label(row)}", "red" if row.reason else "" if row.on_path else "dim")
        name.truncate(name_width, overflow="ellipsis", pad=True)
        line.append_text(name).append(" " * MARGIN)
        for heading, width in columns[1:]:
            said = FIGURES[heading](row)[:width]
            cells = said.ljust(width) if heading in LEFT else said.rjust(width)
            line.append(cells + " " * MARGIN, "" if heading == "time" else "dim")
        return line

    def _bar(self, row: OutlineRow, bar: int, *, is_plain: bool) -> Text:
        line = Text(no_wrap=True)
        first = self._cell(row.start_s, bar)
        last = max(first, self._cell(row.end_s, bar, is_end=True))
        slack = last if row.slack_s is None else max(last, self._cell(row.end_s + row.slack_s, bar, is_end=True))
        ftr = None if self._ftr_s is None else self._cell(self._ftr_s, bar)
        for cell in range(bar):
            if first <= cell <= last:
                cause, on_path = self._most(row, cell, bar)
                letter, style = STYLES[cause]
                if is_plain:
                    line.append(letter.upper() if on_path else letter)
                else:
                    line.append("\N{FULL BLOCK}" if on_path else "\N{MEDIUM SHADE}", style)
            elif last < cell <= slack:
                line.append("\N{BOX DRAWINGS LIGHT TRIPLE DASH HORIZONTAL}", "dim")
            elif cell == ftr:
                line.append("\N{BOX DRAWINGS LIGHT QUADRUPLE DASH VERTICAL}", "red")
            else:
                line.append(" ")
        return line

    def _cell(self, seconds: float, bar: int, *, is_end: bool = False) -> int:
        """The cell whose beginning is nearest to a moment; of an end, the one before that."""
        return max(0, min(bar - 1, round(seconds / self._length * bar) - is_end))

    def _most(self, row: OutlineRow, cell: int, bar: int) -> tuple[Cause, bool]:
        """The cause that most of a cell goes to, and whether any of it is on the path; of all the row within one."""
        start, end = cell * self._length / bar, (cell + 1) * self._length / bar
        within = [part for part in row.bars if part.end_s > start and part.start_s < end]
        if not within:
            return max(row.bars, key=_length).cause, row.on_path
        longest = max(within, key=lambda part: min(end, part.end_s) - max(start, part.start_s))
        return longest.cause, any(part.on_path for part in within)


def _length(part: Bar) -> float:
    return part.end_s - part.start_s


def _is_short(row: OutlineRow, makespan_s: float) -> bool:
    return row.kind is RowKind.GAP and row.end_s - row.start_s < SHORT * makespan_s


def _label(row: OutlineRow) -> str:
    """What a row is called: which call of which agent, which tool, what a gap was."""
    indent = "  " * row.depth
    how = f": {clean(row.reason)}" if row.reason else ", running" if row.is_running else ""
    if row.kind is RowKind.TOOL:
        return f"{indent}{clean(row.label)}(){how}"
    if row.kind is RowKind.GAP:
        cause = row.bars[0].cause.value.replace("_", " ")
        return f"{indent}({cause})" if row.label == row.bars[0].cause else f"{indent}({cause}: {clean(row.label)})"
    agent = f"{clean(row.agent_name) or 'agent'} {row.agent}, " if row.agent else ""
    return f"{indent}{agent}call {row.turn + 1}{how}"


def _how(row: OutlineRow) -> str:
    """How a run of a tool came about, and whether the agent's call joined it."""
    return ", ".join(row.marks)


def _replica(row: OutlineRow) -> str:
    return "" if row.replica is None else row.replica


def _prompt(row: OutlineRow) -> str:
    if row.kind is not RowKind.CALL or not row.prompt_tokens:
        return ""
    return f"{tokens(row.prompt_tokens)}, {'-' if row.cached_tokens is None else share(row.cached_tokens, row.prompt_tokens)}"


def _time(row: OutlineRow) -> str:
    return span(row.end_s - row.start_s)


LEFT = frozenset(("run",))
"""Columns of words, which begin at their left."""

FIGURES = {"run": _how, "replica": _replica, "prompt, hit": _prompt, "time": _time}
"""What columns say of a row, by heading."""


def _write(cells: list[str], at: int, text: str) -> None:
    """Put `text` into cells, as much as fits."""
    for place, letter in enumerate(text[: len(cells) - at], at):
        cells[place] = letter
