"""How much sooner a program has its first result where tools run while the model still writes."""

from __future__ import annotations

from statistics import median

from bench.knowledge.row import Row, at_most
from bench.tools import Options
from bench.tools.dispatching import ON, Sides, TimedTool, measure

ROUNDS = 9
BOUND = 0.75

TOOLS = {
    "survey": TimedTool(closes_at_s=0.5, takes_s=2.0),
    "search": TimedTool(closes_at_s=1.0, takes_s=1.5),
    "inspect": TimedTool(closes_at_s=1.5, takes_s=1.0),
    "lookup": TimedTool(closes_at_s=2.0, takes_s=0.5),
}

HOW = (
    "An embedded engine, a gateway with one MCP server on stdio, two proxies, of which one tells the gateway what the model "
    "writes: processes of their own. An agent streams an answer that calls four tools, whose arguments close at 0.5, 1.0, 1.5 "
    "and 2.0 s of about 2 s, calls all four on the gateway when it has ended, and asks again; they take 2.0, 1.5, 1.0 and "
    "0.5 s. Off and on take turns; the ratio is that of the medians. Tools end at 2.5 s at best, and at 4.0 s without."
)


def rows(options: Options) -> list[Row]:
    """FTR with dispatch over FTR without."""
    del options  # nothing is drawn
    sides = measure(TOOLS, ROUNDS)
    off, on = median(run.ftr_s for run in sides.off), median(run.ftr_s for run in sides.on)
    return [at_most("ftr", "FTR of four parallel tool calls, dispatch on", on / off, BOUND, "x off", _figures(sides), HOW)]


def _figures(sides: Sides) -> dict[str, float]:
    figures = {
        f"{name} {side} s": median(getattr(run, f"{field}_s") for run in runs)
        for side, runs in (("off", sides.off), ("on", sides.on))
        for name, field in (("FTR", "ftr"), ("answer's end", "turn"), ("tools' end", "tools"))
    }
    closed = zip(*(run.closed_s for run in sides.on), strict=True)
    figures |= {f"arguments {number} close s": median(moments) for number, moments in enumerate(closed, 1)}
    figures |= {f"FTR {side} by the proxy s": median(seconds) for side, seconds in sides.proxy_ftr_s.items()}
    return figures | {f"early runs {ON}": sides.early, "rounds": len(sides.on)}
