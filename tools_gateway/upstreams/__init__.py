"""The upstream servers: one owner task for each session, which connects in the background and is nobody else's concern.

A session is an upstream under one credential. Its owner dials (`stdio` starts a program, `streamable` speaks to an endpoint),
greets in the revision that the other side speaks, lists tools, and when the connection is lost dials again at its own `pace`.
What is asked meanwhile fails at once. No task group, scope or connection pool spans two sessions, so what happens to one never
reaches another.

JSON-RPC is spoken here and not by the SDK's client: results are given on as the objects that came, and its clients share the
fate of their task group.
"""

from turnwise.tools_gateway.upstreams.facts import SessionFacts, State
from turnwise.tools_gateway.upstreams.upstreams import GatewayUpstreams

__all__ = ["GatewayUpstreams", "SessionFacts", "State"]
