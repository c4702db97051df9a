"""The tools gateway: a separate MCP process that the proxy drives, so that tools leave the model's way.

Agents call it as their MCP server; it calls the upstream servers of the operator's file. The proxy tells it over a local socket
which tool calls a model is writing (`messages`), so that a call is prepared, and where the operator marked the tool so, run,
before the agent asks; the agent's call then joins the run that is under way. docs/tools.md has the picture, docs/decisions/0009
the reasons.

Rooms: `server` (MCP front, admin, the process) -> `runs` (announcements, early runs and their budget, joining, sharing, memory,
deadlines), which asks `schedule` (who runs next) and `upstreams` (one owner task for each session). They ask `registry` (names,
pins), `trust` (arguments, results, tokens, audit) and `forecast` (how long tools run), which wait for nothing. `link` is the
gateway's end of the proxy's socket, `export` its metrics and page, `cli` the commands of `turnwise tools`.

Nothing heavy is imported here: the proxy reads `messages` and `forecast` without loading MCP.
"""
