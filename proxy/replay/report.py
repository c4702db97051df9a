"""What `turnwise replay` shows and writes: a table, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich import box
from rich.table import Table

from turnwise.proxy.replay.bounds import Bounds
from turnwise.proxy.replay.results import Summary


class Report(msgspec.Struct, frozen=True):
    """One invocation: what was played on what, and what came of it."""

    trace: str
    format: str
    num_calls: int
    num_sessions: int
    fleet: str
    """The replicas in words, or the URL."""
    pacing: str
    seed: int
    runs: tuple[Summary, ...]
    bounds: Bounds | None
    """None where the fleet is real: nobody knows its cache."""

    @property
    def title(self) -> str:
        """What was played."""
        return f"{self.trace}: {self.num_calls:,} calls of {self.num_sessions:,} sessions"

    @property
    def subtitle(self) -> str:
        """On what, and how."""
        return f"{self.fleet}; {self.pacing}"

    def to_json(self) -> bytes:
        """As a JSON document."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"

    def to_table(self) -> Table:
        """As a table for a terminal of 80 columns."""
        table = Table(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            title=f"{self.title}\n{self.subtitle}",
            title_justify="left",
            title_style="bold",
        )
        table.add_column("policy", no_wrap=True)
        for heading in ("hit", "TTFT s", "p50", "p99", "imbal.", "calls", "span s", "wall s"):
            table.add_column(heading, justify="right", no_wrap=True)
        for run in self.runs:
            table.add_row(
                run.policy,
                f"{run.hit_ratio:.4f}",
                f"{run.first_token_mean_s:.3f}",
                f"{run.first_token_p50_s:.3f}",
                f"{run.first_token_p99_s:.2f}",
                f"{run.imbalance:.2f}",
                f"{run.num_calls:,}",
                f"{run.span_s:,.0f}",
                f"{run.wall_s:.1f}",
            )
        if self.bounds is not None:
            table.add_section()
            table.add_row("pooled LRU", f"{self.bounds.pooled_lru:.4f}")
            table.add_row("pooled Belady", f"{self.bounds.pooled_belady:.4f}")
        return table


def pacing_in_words(*, is_open: bool, live: int, think_cap_s: float, speedup: float) -> str:
    """How calls were paced."""
    words = "open loop" if is_open else f"closed loop, {live} sessions live, think time up to {think_cap_s:g} s"
    return words if speedup == 1.0 else f"{words}, {speedup:g} times as fast"


def replicas_in_words(engine: str, sizes: Sequence[tuple[int, float]]) -> str:
    """The replicas of a fleet, equal ones counted."""
    counted: dict[tuple[int, float], int] = {}
    for size in sizes:
        counted[size] = counted.get(size, 0) + 1
    speed = " at {:,.0f} tok/s" if engine == "fifo" else ""
    return f"{engine} " + " + ".join(
        f"{count} x {kv_tokens // 1000:,}K tokens{speed.format(rate)}" for (kv_tokens, rate), count in counted.items()
    )
