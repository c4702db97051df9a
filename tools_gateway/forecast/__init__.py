"""The runtime table: how long each tool runs, by the size of its arguments; pure.

`table` is what others use. It keeps for each `tool` a `window` of its newest run times, and one for each size of arguments; a
window forgets what came before a change, and gives a `curve`, which answers for quantiles; `prior` guesses where there are few
values; `state` is what is written down of it.
"""

from turnwise.tools_gateway.forecast.table import RunTable, ToolTimes

__all__ = ["RunTable", "ToolTimes"]
