"""Where agents reach the gateway: one MCP endpoint for both revisions, and the process that holds all rooms together.

A request passes `draining` (which ends it when the gateway stops), `door` (Host, Origin, who asks) and `endpoint`. A tool call
of the newer revision is served by `direct`, all else by the SDK's server with the `handlers`. Both give tool calls to `calls`;
what else MCP has goes through `relay`, in its `relay_turns`, to the upstream where `catalogue` finds it. `rounds` goes on where
an upstream wants something of the client first, with a call that is `held` meanwhile where the upstream asks in the midst of
it; `told` brings what upstreams tell outside of requests. `front` holds these together, `app` is the composition root of the
process.
"""
