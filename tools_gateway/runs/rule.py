"""Whether a tool call may run before its agent asks: what the proxy cannot see of rule C1 to C5 (docs/decisions/0009)."""

from __future__ import annotations

from enum import StrEnum

from turnwise.tools_gateway.runs.turns import Announcement
from turnwise.tools_gateway.values import JsonObject, Tool


class NotEarly(StrEnum):
    """Why a call is not run early; a metric label."""

    UNMARKED = "unmarked"
    """The operator did not say that it may, or not all that it takes."""
    FORBIDDEN = "forbidden"
    """The proxy saw a reason."""
    TAINTED = "tainted"
    """Its arguments may leave for places outside, and the prompt holds results of tools."""
    ORDER = "order"
    """A call before it in the turn may have side effects, or nobody told of one."""
    EMPTY = "empty"
    """It has no arguments although the tool has some to give: engines are known to lose them (vLLM 55082)."""
    SLOTS = "slots"
    """Its tool, upstream or tenant runs one at a time, and that slot is for those who ask."""
    BUDGET = "budget"
    """The tenant has as many early runs as it may, or as many results that wait."""
    REMEMBERED = "remembered"
    """An equal call's result is still good."""
    AUDIT = "audit"
    """The audit cannot be written."""


def why_not_early(announcement: Announcement, tool: Tool, arguments: JsonObject) -> NotEarly | None:
    """Judge one call whose arguments have closed and hold; None where it may run."""
    marks = tool.marks
    if not (marks.is_early and marks.is_read_only and marks.is_idempotent):
        return NotEarly.UNMARKED
    told = announcement.told
    if told.not_early is not None:
        return NotEarly.FORBIDDEN
    if told.is_tainted and marks.is_open_world:
        return NotEarly.TAINTED
    # What is missing may have been lost on its way here, and what is void may be asked for all the same.
    if not all(_is_harmless(before) for before in announcement.turn.before(told.index)):
        return NotEarly.ORDER
    if not arguments and _takes_arguments(tool):
        return NotEarly.EMPTY
    return None


def _is_harmless(announcement: Announcement | None) -> bool:
    return announcement is not None and announcement.tool is not None and announcement.tool.marks.is_read_only


def _takes_arguments(tool: Tool) -> bool:
    schema = tool.definition.get("inputSchema")
    return not isinstance(schema, dict) or bool(schema.get("properties")) or not schema.keys() <= _PLAIN_KEYWORDS


_PLAIN_KEYWORDS = {"$schema", "additionalProperties", "description", "properties", "required", "title", "type"}
"""Of a schema that says all of its arguments under `properties`."""
