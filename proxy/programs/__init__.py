"""Programs: all calls and tool runs of one user goal. Pure: times arrive as arguments, and nothing here waits.

`Programs.begin` says of each call which program, session, agent and turn it is; `Programs.settle` makes its record, a `Call`.
Ledger, critical path, spans and pictures are functions of a program's calls (docs/programs.md, decision 8).
"""

from turnwise.proxy.programs.programs import Programs
from turnwise.proxy.programs.turn import Turn

__all__ = ["Programs", "Turn"]
