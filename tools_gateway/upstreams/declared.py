"""What a client of the older revisions declares once for a session, so that callers who differ in it cannot share one; pure."""

from __future__ import annotations

from typing import Final

from turnwise.tools_gateway.values import JsonObject

KNOWN: Final = {"elicitation": ("form", "url"), "roots": (), "sampling": ("context", "tools")}
"""Capabilities and those of their members that say something; whether roots change is not passed on, so it is not declared."""


def declared(capabilities: JsonObject) -> JsonObject:
    """What MCP knows of a client's capabilities and nothing else: whatever a client writes there, there are few of them."""
    return {
        name: {member: {} for member in members if isinstance(said.get(member), dict)}
        for name, members in KNOWN.items()
        if isinstance(said := capabilities.get(name), dict)
    }
