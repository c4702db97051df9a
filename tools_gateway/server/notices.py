"""Which notifications of an upstream reach the client that waits for its answer, and in which form."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.invisible import in_all_texts, without_invisible
from turnwise.strict_json import is_deeper
from turnwise.tools_gateway.server.meta import PROGRESS_TOKEN
from turnwise.tools_gateway.values import PROGRESS, JsonObject

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Of log messages, as MCP orders them."""


MAX_DEPTH = 64
MAX_BYTES = 64 * 1024
"""Of the params of one notification."""


class Bounds:
    """Leaves out what is too deep or too large to be told: writing that ends the stream of all else that a client is told."""

    def __init__(self) -> None:
        self.num_dropped = 0
        """Notifications that were beyond, since the start."""

    def held(self, params: JsonObject) -> JsonObject | None:
        """The params as a client is told them, without invisible characters; None where it cannot be told."""
        if is_deeper(params, MAX_DEPTH) or not _is_short(params):
            self.num_dropped += 1
            return None
        shown: JsonObject = in_all_texts(params, without_invisible)
        # The caller's own, which it must find again.
        return {**shown, PROGRESS_TOKEN: params[PROGRESS_TOKEN]} if PROGRESS_TOKEN in params else shown


def relayed(method: str, params: JsonObject, progress_token: Any, level: Any) -> JsonObject | None:
    """The params under which a client is told, or None where it did not ask to be.

    `progress_token` is its own, None without one; `level` is the lowest level of log messages that it wants, None for none.
    """
    if method == PROGRESS:
        return None if progress_token is None else {**params, PROGRESS_TOKEN: progress_token}
    if method == "notifications/message":
        return params if is_at_least(params.get("level"), level) else None
    return None


def is_at_least(level: Any, lowest: Any) -> bool:
    """Whether a message of `level` is wanted; not where either is no level of MCP."""
    return level in LEVELS and lowest in LEVELS and LEVELS.index(level) >= LEVELS.index(lowest)


def _is_short(params: JsonObject) -> bool:
    try:
        return len(msgspec.json.encode(params)) <= MAX_BYTES
    except UnicodeEncodeError:
        return False
