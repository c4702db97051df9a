"""Whether arguments and results hold by the schemas of their tool as it is pinned, and what is wrong where they do not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jsonschema_rs

from turnwise import strict_json
from turnwise.invisible import made_visible
from turnwise.tools_gateway.registry.schemas import Checker, checker
from turnwise.tools_gateway.values import Tool, ToolKey

MAX_EXPLAINED = 1 << 16
"""Looks of which it is said what is wrong where a schema has branches: each error below them takes 18 us."""
MAX_CHECKERS = 4096

Member = Literal["inputSchema", "outputSchema"]

Unknown = Callable[[str, str], str]
"""Says in words that a member is none that the schema knows: its path, its name."""


class Checkers:
    """What checks by the schemas of tools, compiled once for each definition."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[ToolKey, str, Member], Checker] = OrderedDict()

    def of(self, tool: Tool, member: Member) -> Checker:
        """The checker of a schema that the tool has; raises `Sloppy`."""
        key = (tool.key, tool.pin, member)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = checker(tool.definition[member])
            if len(self._known) > MAX_CHECKERS:
                self._known.popitem(last=False)
        return known


def what_is_wrong(known: Checker, value: object, num_bytes: int, unknown: Unknown) -> str:
    """The first thing that is wrong with a value of so many bytes, naming the member and never its value; empty for nothing."""
    if known.validator.is_valid(value):
        return ""
    if not known.has_branches or known.cost * num_bytes <= MAX_EXPLAINED:
        try:
            known.validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return _explained(error, unknown)
    return "they do not match its schema"


def _explained(error: jsonschema_rs.ValidationError, unknown: Unknown) -> str:
    path = ""
    for name in error.instance_path:
        path = strict_json.step(path, name)
    facts: Mapping[str, Any] = error.kind.as_dict()
    if error.kind.name == "required":
        return f"`{strict_json.step(path, facts['property'])}` is missing"
    if error.kind.name == "falseSchema" and path:
        return unknown(path, str(error.instance_path[-1]))
    if error.kind.name == "additionalProperties":
        name = facts["unexpected"][0]
        return unknown(strict_json.step(path, name), name)
    message = made_visible(error.message)
    return f"`{path}`: {message}" if path else message
