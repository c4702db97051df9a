"""How long an agent waits for a tool that began to run while the model wrote, where that wrote longer than the tool ran."""

from __future__ import annotations

from statistics import median

from bench.knowledge.row import Row, at_most
from bench.tools import Options
from bench.tools.dispatching import TimedTool, measure

ROUNDS = 9
BOUND = 0.2

TOOLS = {
    "lookup": TimedTool(closes_at_s=0.5, takes_s=0.5),
    "write": TimedTool(closes_at_s=2.0, takes_s=0.0, is_early=False),
}

HOW = (
    "As for FTR, but the answer calls a tool that takes 0.5 s, whose arguments close at 0.5 s, and then one that may not run "
    "early, whose arguments are long. Measured is what an unchanged MCP client waits for the first, over what it waits where "
    "the gateway is told nothing; medians."
)


def rows(options: Options) -> list[Row]:
    """The wait for a joined call over that for a call of its own."""
    del options  # nothing is drawn
    sides = measure(TOOLS, ROUNDS)
    off, on = median(run.answered_s[0] for run in sides.off), median(run.answered_s[0] for run in sides.on)
    figures = {
        "wait off s": off,
        "wait on s": on,
        "longest wait on s": max(run.answered_s[0] for run in sides.on),
        "answer's end s": median(run.turn_s for run in sides.on),
        "early runs": sides.early,
        "rounds": float(len(sides.on)),
    }
    return [
        at_most("joined", "wait of an unchanged client for a call that it joins", on / off, BOUND, "x the tool", figures, HOW)
    ]
