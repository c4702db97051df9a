"""The client behind one request, as far as an upstream may reach it."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.values import Fault, JsonObject, Principal, ToolFault

NEEDS = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
"""Request of a server to the capability that a client must have declared for it."""


class Client(msgspec.Struct, frozen=True):
    """Who asks, and what can be said to it while it waits."""

    principal: Principal
    capabilities: JsonObject
    """As its client declared them."""
    meta: JsonObject
    """Its `_meta`, as far as it may be sent on."""
    notify: Notify
    answer: Answer | None = None
    """None where its revision has no requests of servers: it is given `input_required` and asks again."""


def can_answer(capabilities: JsonObject) -> bool:
    """Whether there is anything that a client may be asked for."""
    return any(isinstance(capabilities.get(needed), dict) for needed in NEEDS.values())


def check_can_answer(capabilities: JsonObject, method: Any, params: Any) -> None:
    """Raise `ToolFault` where a client did not declare what it is about to be asked for.

    A page that the user is to open (`url` mode) is never relayed: an upstream would choose where a user signs in.
    """
    needed = NEEDS.get(method) if isinstance(method, str) else None
    if needed is None or not isinstance(capabilities.get(needed), dict):
        raise ToolFault(Fault.NOT_ALLOWED, f"The tool asked for {method}, which this client did not declare that it can do.")
    if needed == "elicitation" and isinstance(params, dict) and params.get("mode") == "url":
        raise ToolFault(Fault.NOT_ALLOWED, "The tool asked the user to open a page, which this gateway does not pass on.")
