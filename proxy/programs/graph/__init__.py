"""The session graph: what the prompts and answers of one program consist of, as typed blocks, each shared beginning once.

`Graph` takes in calls as they begin and end. Behind it, `rows` is a forest in columns, `answered` puts answers into it and
finds them again in the prompts that repeat them, `tips` knows where each conversation goes on from, and `hints` says what
clients want kept; `views` makes the `Block`s and `Line`s that are shown, `retention` says how long they are worth keeping.
"""

from __future__ import annotations

from turnwise.proxy.programs.graph.blocks import Block, BlockKind, Line, Retention, State
from turnwise.proxy.programs.graph.graph import HEAD, Begun, Graph, Retired
from turnwise.proxy.programs.graph.hints import HINT_HEADERS, HintReader, Malformed
from turnwise.proxy.programs.graph.rates import Rates
from turnwise.proxy.programs.graph.views import blocks, lines

__all__ = [
    "HEAD",
    "HINT_HEADERS",
    "Begun",
    "Block",
    "BlockKind",
    "Graph",
    "HintReader",
    "Line",
    "Malformed",
    "Rates",
    "Retention",
    "Retired",
    "State",
    "blocks",
    "lines",
]
