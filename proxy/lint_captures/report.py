"""What `turnwise lint` found, for people and for machines."""

from __future__ import annotations

from collections import Counter

import msgspec
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from turnwise.proxy.lint import ADVICE, Cause, Finding

MAX_ROWS = 200
"""Findings shown of one file; the summary and the JSON count all."""


class Excerpt(msgspec.Struct, frozen=True):
    """The text around the place where two prompts part."""

    before: str
    after: str


class Found(msgspec.Struct, frozen=True):
    """One finding, and the line of the capture where it was made."""

    line: int
    finding: Finding
    excerpt: Excerpt | None = None


class FileReport(msgspec.Struct, frozen=True):
    """What one capture holds."""

    path: str
    num_calls: int
    """Calls that were compared."""
    num_conversations: int
    """Conversations, and branches of one, that begin in this file."""
    num_stable: int
    """Calls that went on with an earlier prompt as it was."""
    num_other: int
    """Lines without a prompt whose turns can be followed: health checks, counts of tokens, bare prompts, continued state."""
    refused: tuple[tuple[int, str], ...]
    """Lines whose body the proxy refuses, and why."""
    findings: tuple[Found, ...]

    @property
    def stable_share(self) -> float | None:
        """Share of stable calls among those that follow another; None where none does."""
        following = self.num_stable + len(self.findings)
        return self.num_stable / following if following else None


class CauseTotal(msgspec.Struct, frozen=True):
    """All findings of one cause."""

    cause: Cause
    count: int
    tokens_lost: int
    meaning: str
    remedy: str


class Report(msgspec.Struct, frozen=True):
    """What all captures hold together."""

    files: tuple[FileReport, ...]

    @property
    def num_compared(self) -> int:
        """Calls that follow another, and so could break its prefix."""
        return sum(file.num_stable + len(file.findings) for file in self.files)

    @property
    def causes(self) -> tuple[CauseTotal, ...]:
        """Totals by cause, the costliest first."""
        findings = [found.finding for file in self.files for found in file.findings]
        counts = Counter(finding.cause for finding in findings)
        lost = Counter[Cause]()
        for finding in findings:
            lost[finding.cause] += finding.tokens_lost
        costliest = sorted(counts, key=lambda cause: (-lost[cause], cause))
        return tuple(
            CauseTotal(cause, counts[cause], lost[cause], ADVICE[cause].meaning, ADVICE[cause].remedy) for cause in costliest
        )

    def to_json(self) -> bytes:
        """One JSON object: `files`, each with its findings, and `causes`."""
        files = [msgspec.to_builtins(file) | {"stable_share": file.stable_share} for file in self.files]
        return msgspec.json.encode({"files": files, "causes": self.causes})

    def print(self, console: Console) -> None:
        """Print a part for each file, and what to do about each cause."""
        for file in self.files:
            console.print(_file(file))
        causes = self.causes
        if not self.num_compared:
            refused = sum(len(file.refused) for file in self.files)
            why = f"; {_count(refused, 'line')} {'was' if refused == 1 else 'were'} refused" if refused else ""
            console.print(f"nothing could be compared: no call follows another{why}")
        elif not causes:
            console.print("no prefix was broken")
        for total in causes:
            console.print(Text(f"{total.cause}: {_times(total.count)}, about {total.tokens_lost:,} tokens", style="bold"))
            console.print(f"  {total.meaning}\n  {total.remedy}\n", markup=False)


def _file(file: FileReport) -> RenderableType:
    share = "" if file.stable_share is None else f", {file.stable_share:.0%} of those that follow another are stable"
    head = f"{file.path}: {_count(file.num_calls, 'call')}, {_count(file.num_conversations, 'conversation')}{share}"
    lines: list[RenderableType] = [Text(head, style="bold")]
    if file.num_other:
        lines.append(Text(f"  {_count(file.num_other, 'line')} without turns to follow"))
    lines += [Text(f"  line {number} is refused: {why}") for number, why in file.refused]
    if file.findings:
        lines.append(Padding(_table(file.findings[:MAX_ROWS]), (0, 0, 0, 2)))
        lines += [_excerpt(found.line, found.excerpt) for found in file.findings[:MAX_ROWS] if found.excerpt is not None]
    if len(file.findings) > MAX_ROWS:
        lines.append(Text(f"  ... and {len(file.findings) - MAX_ROWS} more"))
    return Group(*lines, "")


def _table(findings: tuple[Found, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("line", "conversation", "cause", "segment", "byte", "tokens lost"):
        table.add_column(name, justify="right" if name in {"line", "byte", "tokens lost"} else "left", overflow="fold")
    for found in findings:
        finding = found.finding
        segment = f"{finding.segment} ({finding.kind}) +{finding.segment_byte}"
        table.add_row(
            str(found.line),
            Text(finding.conversation[:16]),
            finding.cause,
            segment,
            f"{finding.prompt_byte:,}",
            f"{finding.tokens_lost:,}",
        )
    return table


def _excerpt(line: int, excerpt: Excerpt) -> Text:
    return Text(f"  line {line} was: {excerpt.before}\n  line {line} is:  {excerpt.after}")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
