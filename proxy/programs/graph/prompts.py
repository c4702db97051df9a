"""The prompts of a program's conversations, so that who holds them can be asked."""

from __future__ import annotations

from turnwise.proxy.programs.graph.graph import Graph
from turnwise.proxy.programs.graph.rows import agent_of
from turnwise.types import Digest, PromptChain


def prompt_of(graph: Graph, agent: int, bytes_per_token: float) -> PromptChain | None:
    """The prompt from which a conversation goes on, or went on last, as far as one was seen to be sent; None without one.

    Its lengths are made of tokens at `bytes_per_token`, for those of what was sent are not kept.
    """
    rows, row = graph.rows, graph.lines.tip(agent)
    if row < 0:
        row = next((own for own in range(len(rows) - 1, -1, -1) if agent_of(rows.origin(own)) == agent), -1)
    digests: list[Digest] = []
    ends: list[int] = []
    while row >= 0:
        if not rows.is_said(row):
            digests.append(Digest(rows.digest(row)))
            ends.append(round(rows.end(row) * bytes_per_token))
        row = rows.parent(row)
    return PromptChain(tuple(reversed(digests)), tuple(reversed(ends))) if digests else None
