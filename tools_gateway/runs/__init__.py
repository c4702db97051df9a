"""The calls of tools: announced by proxies, asked for by agents, and run once for both.

`tool_runs` is the front. `calls` serves agents; `announcements` takes in what proxies tell, in `turns`; `early` begins runs
before they are asked for, as far as `rule` and `budget` allow, holds their results, and voids them. A `run` is one run of a
tool, from the queue to its end; `flights` has those under way, so that equal calls find each other; `memory` has results
that still serve. Everything that decides is synchronous; what waits is `run` for slots and upstreams, and `calls` for runs and
turns.
"""

from turnwise.tools_gateway.runs.tool_runs import ToolRuns

__all__ = ["ToolRuns"]
