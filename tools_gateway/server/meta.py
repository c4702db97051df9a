"""What of a caller's `_meta` goes on to an upstream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from turnwise.tools_gateway.values import JsonObject

RESERVED = "io.modelcontextprotocol/"
LOG_LEVEL = RESERVED + "logLevel"
PROGRESS_TOKEN = "progressToken"  # noqa: S105 - a key of MCP, no secret
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
MAX_TRACESTATE = 512


def sent_on(meta: Mapping[str, Any], traceparent: str | None = None) -> JsonObject:
    """Give the members that may be sent on: the progress token, the level of log messages, and trace context that is one.

    What else a caller writes there may be a credential, which is the gateway's own to know. `traceparent` is that of the
    request's header, which stands in where `_meta` has none.
    """
    kept = {key: meta[key] for key in (PROGRESS_TOKEN, LOG_LEVEL) if key in meta}
    parent = meta.get("traceparent", traceparent)
    if isinstance(parent, str) and TRACEPARENT.fullmatch(parent):
        kept["traceparent"] = parent
        state = meta.get("tracestate")
        if isinstance(state, str) and len(state) <= MAX_TRACESTATE:
            kept["tracestate"] = state
    return kept
