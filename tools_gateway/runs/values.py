"""What the runs tell each other: a call that is to be run, what became of it, and the key under which calls are equal."""

from __future__ import annotations

import json
from hashlib import blake2b

import msgspec

from turnwise.tools_gateway.values import (
    PLAIN,
    Caller,
    Credential,
    Fate,
    Fault,
    JsonObject,
    Principal,
    Tool,
    ToolFault,
    ToolKey,
)

_PASSING = frozenset({Fault.NOT_ALLOWED, Fault.QUEUE_FULL, Fault.UPSTREAM_DOWN, Fault.CANCELLED, Fault.BUG})

MISSING_CAPABILITY = -32021
"""JSON-RPC error of a server that wants of the client what that did not declare (MCP 2026-07-28)."""


class CallKey(msgspec.Struct, frozen=True, gc=False):
    """Calls of one key are equal: one may take another's run or result where the tool's marks, or a claim, allow it."""

    tenant: str
    credential: Credential
    tool: ToolKey
    arguments: bytes
    """Digest of the canonical arguments."""


class ToolCall(msgspec.Struct, frozen=True):
    """One call of a tool, admitted and checked."""

    principal: Principal
    tool: Tool
    credential: Credential
    arguments: JsonObject
    key: CallKey
    num_bytes: int
    """Of the canonical arguments."""
    meta: JsonObject
    caller: Caller = PLAIN


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended: a result or a fault."""

    fate: Fate
    seconds: float
    """From the moment at which the upstream was asked; 0 where it never was."""
    result: JsonObject | None = None
    fault: ToolFault | None = None
    is_answered: bool = False
    """Whether the client of one caller was asked for something on the way."""

    @property
    def asks_for_input(self) -> bool:
        """Whether the upstream wants something of the client before it gives a result."""
        return self.result is not None and self.result.get("resultType") == "input_required"

    @property
    def is_personal(self) -> bool:
        """Whether it hangs on what one client can answer, or did: it is neither shared, held nor remembered."""
        error = self.fault.error if self.fault is not None else None
        return self.is_answered or self.asks_for_input or (error is not None and error.get("code") == MISSING_CAPABILITY)

    @property
    def is_passing(self) -> bool:
        """Whether an equal call may fare better a moment later: the fault is not the tool's."""
        return self.fault is not None and self.fault.fault in _PASSING

    def give(self) -> JsonObject:
        """The result, the same object for everyone who is given it; raises `ToolFault` where there is none."""
        if self.result is not None:
            return self.result
        assert self.fault is not None
        # A new one for each who waits: they raise it in tasks of their own.
        raise ToolFault(self.fault.fault, self.fault.message, self.fault.error)


def make_call(
    principal: Principal,
    tool: Tool,
    credential: Credential,
    arguments: JsonObject,
    meta: JsonObject,
    caller: Caller = PLAIN,
) -> ToolCall:
    """A call with its key; `arguments` have been checked."""
    text = canonical(arguments)
    key = CallKey(principal.tenant, credential, tool.key, blake2b(text, digest_size=16).digest())
    return ToolCall(principal, tool, credential, arguments, key, len(text), meta, caller)


def canonical(arguments: JsonObject) -> bytes:
    """Write arguments in one way whatever the order of their keys, their escapes, and the spelling of their numbers.

    A whole number written as one (`1`) and with a fraction or an exponent (`1.0`, `1e0`) are two values, as they are for a
    server that reads them: an agent that spells its model's number otherwise gets a run of its own, which is safe, and the
    other's result would not be. `true` is no number. Strings are compared by code points, without Unicode's normal forms.
    """
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
