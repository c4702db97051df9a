"""What was decided of calls of tools and what came of it: never an argument or a result as it was."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from turnwise.tools_gateway.messages import How, Void
from turnwise.tools_gateway.settings import Trust
from turnwise.tools_gateway.trust import secrets
from turnwise.tools_gateway.trust.chain import Chain
from turnwise.tools_gateway.values import Fate, Fault, JsonObject, Principal, Tool, UpstreamName

UNKEPT = "unkept"
"""Id of a record that nobody wants to be written."""
MAX_TEXT = 48
"""Characters of a text that are written down."""
MAX_URI = 512
"""The same of the URI of a resource, which is its only name."""
MAX_MEMBERS = 32
"""Members and items of arguments that are written down; the hash holds them all."""
MAX_LEVELS = 4
_SECRET_NAMES = (
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "credential",
    "private_key",
    "cookie",
)


class ToolAudit:
    """Writes a record when a call is decided and one when it has ended, into a chain that shows tampering.

    `num_unwritten` counts what could not be written; whoever asks for a call with side effects is then refused. Where the
    operator's file names no folder, nothing is written and nothing refused for that. Raises `SettingsError` as `Chain` does.
    """

    def __init__(
        self, trust: Trust, *, now: Callable[[], float] = time.time, write: Callable[[int, bytes], int] = os.write
    ) -> None:
        self.num_written = 0
        self.num_unwritten = 0
        self._chain: Chain | None = None
        if trust.state_dir:
            folder = Path(trust.state_dir)
            self._chain = Chain(folder, max_bytes=trust.max_audit_bytes, fsync=trust.fsync, now=now, write=write)

    def decided(self, tool: Tool, principal: Principal, arguments: JsonObject, *, how: str, turn: str = "") -> str:
        """Write that a call is about to be made; returns the id of the record, empty where it cannot be written."""
        if self._chain is None:
            return UNKEPT
        return self._add(
            "decided",
            {
                "tool": tool.name,
                "upstream": tool.key.upstream,
                "own_name": tool.key.tool,
                "pin": tool.pin,
                "tenant": principal.tenant,
                "how": how,
                "turn": turn,
                "is_read_only": tool.marks.is_read_only,
                "arguments_sha256": _digest(arguments),
                "arguments": redacted(arguments),
            },
        )

    def relayed(self, method: str, upstream: UpstreamName, name: str, principal: Principal, arguments: JsonObject) -> str:
        """The same of what is no tool: a prompt by its public name, a resource by its URI, a completion for one of them."""
        if self._chain is None:
            return UNKEPT
        return self._add(
            "decided",
            {
                "tool": _named(name),
                "method": method,
                "upstream": upstream,
                "tenant": principal.tenant,
                "how": How.ASKED,
                "arguments_sha256": _digest(arguments),
                "arguments": redacted(arguments),
            },
        )

    def ended(self, record: str, fate: Fate, fault: Fault | None, seconds: float, result: JsonObject | None) -> None:
        """Write what came of it."""
        if self._chain is None:
            return
        facts: JsonObject = {"record": record, "fate": fate, "fault": fault, "seconds": round(seconds, 6)}
        if result is not None:
            encoded = _encoded(result)
            facts |= {"result_sha256": sha256(encoded).hexdigest(), "result_bytes": len(encoded)}
        self._add("ended", facts)

    def refused(self, name: str, principal: Principal, fault: Fault, *, turn: str = "") -> None:
        """Write that a call was not made."""
        self._add("refused", {"tool": _named(name), "tenant": principal.tenant, "fault": fault, "turn": turn})

    def voided(self, record: str, why: Void) -> None:
        """Write that the result of an early run was given to nobody."""
        self._add("voided", {"record": record, "why": why})

    def noted(self, kind: str, facts: JsonObject) -> None:
        """Write that something else changed: what was approved, or what an upstream says of a tool."""
        self._add(kind, facts)

    def close(self) -> None:
        """Let go of the files."""
        if self._chain is not None:
            self._chain.close()

    def _add(self, kind: str, facts: JsonObject) -> str:
        if self._chain is None:
            return UNKEPT
        try:
            number = self._chain.add(kind, facts)
        except OSError:
            self.num_unwritten += 1
            return ""
        self.num_written += 1
        return str(number)


def redacted(arguments: JsonObject) -> JsonObject:
    """Arguments as they may be written down: texts cut and without secrets, what is named like a secret left out."""
    left = iter(range(MAX_MEMBERS))
    shapes = secrets.shapes_in(_encoded(arguments))
    return {_cut(name): _redacted(name, value, left, shapes, MAX_LEVELS) for name, value in arguments.items() if _more(left)}


def _redacted(name: str, value: object, left: Iterator[int], shapes: list[secrets.Shape], levels: int) -> object:
    if isinstance(value, str):
        lower = name.lower()
        if any(word in lower for word in _SECRET_NAMES):
            return "[removed]"
        return _cut(secrets.redacted(value, shapes) if shapes else value)
    if isinstance(value, dict | list) and not levels:
        return f"[{len(value)} of them]"
    if isinstance(value, dict):
        return {_cut(key): _redacted(key, child, left, shapes, levels - 1) for key, child in value.items() if _more(left)}
    if isinstance(value, list):
        return [_redacted(name, child, left, shapes, levels - 1) for child in value if _more(left)]
    return value


def _more(left: Iterator[int]) -> bool:
    return next(left, None) is not None


def _named(name: str) -> str:
    """What somebody asked for by name; a URI may hold a secret."""
    return _cut(secrets.redacted(name, secrets.shapes_in(name.encode("utf-8", "replace"))), MAX_URI)


def _cut(text: str, most: int = MAX_TEXT) -> str:
    # What a model wrote may hold halves of characters, which no file does.
    shown = text[:most].encode("utf-8", "replace").decode()
    return shown if len(text) <= most else f"{shown}… ({len(text)} characters)"


def _encoded(value: JsonObject) -> bytes:
    try:
        return msgspec.json.encode(value, order="sorted")
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return repr(value).encode("utf-8", "replace")


def _digest(value: JsonObject) -> str:
    return sha256(_encoded(value)).hexdigest()
