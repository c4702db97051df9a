"""What arguments and results must pass: strict JSON, the pinned schema, no secrets, within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import jsonschema_rs
import msgspec

from turnwise import strict_json
from turnwise.invisible import made_visible
from turnwise.tools_gateway.registry.schemas import Checker, Sloppy, checker
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.trust import results, secrets
from turnwise.tools_gateway.values import Fault, JsonObject, Tool, ToolFault, ToolKey, UpstreamName

MAX_WORK = 1 << 25
"""Looks of a schema's checker at values, at most 60 ns each: two seconds of the worst schema that can have been approved."""
MAX_EXPLAINED = 1 << 16
"""Looks of which it is said what is wrong where a schema has branches: each error below them takes 18 us."""
MAX_CHECKERS = 4096
_MAX_SENTENCE = 400


class PinnedGuard:
    """Checks by the schema of a tool as it is pinned, compiled once."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        self._are_secrets_sought = settings.trust.secrets
        self._max_result_bytes = {UpstreamName(upstream.name): upstream.max_result_bytes for upstream in settings.upstreams}
        self._checkers: OrderedDict[tuple[ToolKey, str], Checker] = OrderedDict()

    def arguments(self, tool: Tool, raw: bytes) -> JsonObject:
        """Parse strictly and check against the tool's schema; raises `ToolFault` naming the member that is wrong."""
        try:
            value = strict_json.read(raw, max_bytes=self._limits.max_argument_bytes, max_depth=self._limits.max_depth)
        except strict_json.NotStrict as error:
            raise _bad(tool, str(error)) from None
        if not isinstance(value, dict):
            raise _bad(tool, "they are no JSON object")
        self._check(tool, value, raw)
        return value

    def check(self, tool: Tool, arguments: JsonObject) -> None:
        """Check arguments that are parsed; raises `ToolFault` naming the member that is wrong."""
        try:
            encoded = msgspec.json.encode(arguments)
        except (UnicodeEncodeError, RecursionError, TypeError, ValueError):
            raise _bad(tool, "they cannot be written as JSON") from None
        if len(encoded) > self._limits.max_argument_bytes:
            raise _bad(tool, f"they have {len(encoded)} bytes, and at most {self._limits.max_argument_bytes} are taken")
        deep = self._limits.max_depth
        if encoded.count(b"{") + encoded.count(b"[") > deep and strict_json.is_deeper(arguments, deep):
            raise _bad(tool, f"they are nested deeper than {deep}")
        self._check(tool, arguments, encoded)

    def result(self, tool: Tool, result: JsonObject) -> JsonObject:
        """Bound and clean what a tool gave, and mark it as untrusted; raises `ToolFault` where it is nested too deep."""
        return results.cleaned(
            result,
            max_bytes=self._max_result_bytes[tool.key.upstream],
            max_depth=self._limits.max_depth,
            are_secrets_removed=self._are_secrets_sought,
        )

    def relayed(self, upstream: UpstreamName, result: JsonObject) -> JsonObject:
        """The same of a prompt, a resource or a completion; raises `ToolFault` where it is too large: half of one is none."""
        return results.cleaned(
            result,
            max_bytes=self._max_result_bytes[upstream],
            max_depth=self._limits.max_depth,
            are_secrets_removed=self._are_secrets_sought,
            is_cut=False,
        )

    def _check(self, tool: Tool, arguments: JsonObject, encoded: bytes) -> None:
        known = self._checker(tool)
        if known.cost * len(encoded) > MAX_WORK:
            most = MAX_WORK // known.cost
            raise _bad(tool, f"they have {len(encoded)} bytes, and its schema is so intricate that at most {most} are checked")
        if not known.validator.is_valid(arguments):
            is_explained = not known.has_branches or known.cost * len(encoded) <= MAX_EXPLAINED
            raise _bad(tool, _sentence(tool, known.validator, arguments) if is_explained else "they do not match its schema")
        if self._are_secrets_sought and (shapes := secrets.shapes_in(encoded)):
            for path, text in _texts(arguments, ""):
                for name in secrets.found_in(text, shapes):
                    raise ToolFault(
                        Fault.NOT_ALLOWED,
                        f"{tool.name} was not called: argument `{path}` holds a {name}, and secrets do not leave.",
                    )

    def _checker(self, tool: Tool) -> Checker:
        of = (tool.key, tool.pin)
        known = self._checkers.get(of)
        if known is None:
            try:
                known = self._checkers[of] = checker(tool.definition["inputSchema"])
            except Sloppy as error:
                raise ToolFault(Fault.NOT_ALLOWED, f"{tool.name} cannot be called: its schema {error}.") from None
            if len(self._checkers) > MAX_CHECKERS:
                self._checkers.popitem(last=False)
        return known


def _bad(tool: Tool, what: str) -> ToolFault:
    return ToolFault(Fault.BAD_ARGUMENTS, f"The arguments of {tool.name} cannot be used: {what}."[:_MAX_SENTENCE])


def _sentence(tool: Tool, validator: jsonschema_rs.Validator, arguments: JsonObject) -> str:
    """The first thing that is wrong, naming the member and never its value."""
    try:
        validator.validate(arguments)
    except jsonschema_rs.ValidationError as error:
        return _explained(tool, error, arguments)
    return "they do not match its schema"


def _explained(tool: Tool, error: jsonschema_rs.ValidationError, arguments: JsonObject) -> str:
    path = ""
    for name in error.instance_path:
        path = strict_json.step(path, name)
    facts: Mapping[str, Any] = error.kind.as_dict()
    if error.kind.name == "required":
        return f"`{strict_json.step(path, facts['property'])}` is missing"
    unknown = facts["unexpected"][0] if error.kind.name == "additionalProperties" else None
    if error.kind.name == "falseSchema" and path:
        return f"it takes no `{path}`{_meant(tool, str(error.instance_path[-1]), arguments)}"
    if unknown is not None:
        return f"it takes no `{strict_json.step(path, unknown)}`{_meant(tool, unknown, arguments)}"
    message = made_visible(error.message)
    return f"`{path}`: {message}" if path else message


def _meant(tool: Tool, unknown: str, arguments: JsonObject) -> str:
    """Which argument of a tool somebody meant, as the end of a sentence."""
    known = [name for name in tool.definition["inputSchema"].get("properties", ()) if name not in arguments]
    close = get_close_matches(unknown, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """All texts of a tree with their paths, names of members among them."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, child in value.items():
            yield path or "names", name
            yield from _texts(child, strict_json.step(path, name))
    elif isinstance(value, list):
        for position, child in enumerate(value):
            yield from _texts(child, strict_json.step(path, position))
