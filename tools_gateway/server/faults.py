"""How a fault is said in the protocol's own words."""

from __future__ import annotations

from mcp_types import INTERNAL_ERROR

from turnwise.tools_gateway.values import JsonObject, ToolFault


def as_error(fault: ToolFault) -> JsonObject:
    """The JSON-RPC error of a fault: the upstream's own where it gave one that is one."""
    given = fault.error or {}
    code = given.get("code")
    error: JsonObject = {
        "code": code if isinstance(code, int) and not isinstance(code, bool) else INTERNAL_ERROR,
        "message": str(given.get("message", fault.message)),
    }
    if "data" in given:
        error["data"] = given["data"]
    return error
