"""What arguments and results must pass: strict JSON, the pinned schema, no secrets, within bounds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from difflib import get_close_matches

import msgspec

from turnwise import strict_json
from turnwise.tools_gateway.registry.schemas import Sloppy
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.trust import results, secrets
from turnwise.tools_gateway.trust.conformity import Checkers, what_is_wrong
from turnwise.tools_gateway.values import Fault, JsonObject, Tool, ToolFault, ToolKey, UpstreamName

MAX_WORK = 1 << 25
"""Looks of a schema's checker at values, at most 60 ns each: two seconds of the worst schema that can have been approved."""
MAX_OUTPUT_WORK = 1 << 22
"""The same of what a server gives, which is asked of nobody beforehand: 0.25 s at the worst, 5 ms for 1 MB of plain rows. No
thread would keep the loop free meanwhile, for the checker holds the interpreter's lock (jsonschema-rs 0.49)."""
_MAX_SENTENCE = 400

log = logging.getLogger(__name__)


class PinnedGuard:
    """Checks by the schema of a tool as it is pinned, compiled once."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        self._are_secrets_sought = settings.trust.secrets
        self._max_result_bytes = {UpstreamName(upstream.name): upstream.max_result_bytes for upstream in settings.upstreams}
        self._strict_results = {upstream.name for upstream in settings.upstreams if upstream.strict_results}
        self._checkers = Checkers()
        self._told: dict[ToolKey, str] = {}
        """Tools, by their pins, of which it is told that their results do not hold."""

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
        """Bound and clean what a tool gave, and mark it as untrusted.

        Raises `ToolFault` where it is nested too deep, or is not what the tool's `outputSchema` says.
        """
        given = results.cleaned(
            result,
            max_bytes=self._max_result_bytes[tool.key.upstream],
            max_depth=self._limits.max_depth,
            are_secrets_removed=self._are_secrets_sought,
        )
        self._check_output(tool, given)
        return given

    def relayed(self, upstream: UpstreamName, result: JsonObject) -> JsonObject:
        """The same of a prompt, a resource, a completion, or what is asked of the caller's client.

        Raises `ToolFault` where it is too large, for half of one is none.
        """
        return results.cleaned(
            result,
            max_bytes=self._max_result_bytes[upstream],
            max_depth=self._limits.max_depth,
            are_secrets_removed=self._are_secrets_sought,
            is_cut=False,
        )

    def refusal(self, fault: ToolFault) -> ToolFault:
        """Bound and clean the words of a fault, which may be the upstream's."""
        return results.refusal(fault, max_depth=self._limits.max_depth, are_secrets_removed=self._are_secrets_sought)

    def _check(self, tool: Tool, arguments: JsonObject, encoded: bytes) -> None:
        try:
            known = self._checkers.of(tool, "inputSchema")
        except Sloppy as error:
            raise ToolFault(Fault.NOT_ALLOWED, f"{tool.name} cannot be called: its schema {error}.") from None
        if known.cost * len(encoded) > MAX_WORK:
            most = MAX_WORK // known.cost
            raise _bad(tool, f"they have {len(encoded)} bytes, and its schema is so intricate that at most {most} are checked")
        if wrong := what_is_wrong(known, arguments, len(encoded), lambda path, name: _no_argument(tool, path, name, arguments)):
            raise _bad(tool, wrong)
        if self._are_secrets_sought and (shapes := secrets.shapes_in(encoded)):
            for path, text in _texts(arguments, ""):
                for name in secrets.found_in(text, shapes):
                    raise ToolFault(
                        Fault.NOT_ALLOWED,
                        f"{tool.name} was not called: argument `{path}` holds a {name}, and secrets do not leave.",
                    )

    def _check_output(self, tool: Tool, result: JsonObject) -> None:
        """Raise `ToolFault` for a result that is not what its tool's `outputSchema` says; where it may be, the log says so.

        Errors and requests for input need not be. What takes too long to check is let through: nobody vouches for it.
        """
        is_whole = result.get("isError") is not True and result.get("resultType", "complete") == "complete"
        if not is_whole or "outputSchema" not in tool.definition:
            return
        wrong = "it gave no structured content"
        if "structuredContent" in result:
            value = result["structuredContent"]
            num_bytes = len(msgspec.json.encode(value))
            known = self._checkers.of(tool, "outputSchema")
            if known.cost * num_bytes > MAX_OUTPUT_WORK:
                return
            wrong = what_is_wrong(known, value, num_bytes, _no_member)
        if not wrong:
            return
        if tool.key.upstream in self._strict_results:
            after = "" if tool.marks.is_read_only else " It ran, and has had its effect."
            message = f"The values that {tool.name} gave cannot be used: {wrong}"[:_MAX_SENTENCE]
            raise ToolFault(Fault.BAD_RESULT, f"{message}.{after}")
        if self._told.get(tool.key) != tool.pin:
            self._told[tool.key] = tool.pin
            log.warning("%s gives values that are not what its outputSchema says: %s", tool.name, wrong[:_MAX_SENTENCE])


def _bad(tool: Tool, what: str) -> ToolFault:
    return ToolFault(Fault.BAD_ARGUMENTS, f"The arguments of {tool.name} cannot be used: {what}."[:_MAX_SENTENCE])


def _no_argument(tool: Tool, path: str, unknown: str, arguments: JsonObject) -> str:
    """That a tool takes no such argument, and which one somebody meant."""
    known = [name for name in tool.definition["inputSchema"].get("properties", ()) if name not in arguments]
    close = get_close_matches(unknown, known, n=1)
    return f"it takes no `{path}`" + (f"; did you mean `{close[0]}`?" if close else "")


def _no_member(path: str, _name: str) -> str:
    return f"its schema has no `{path}`"


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
