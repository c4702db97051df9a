"""Errors in the shape that each API's clients understand."""

from __future__ import annotations

import msgspec

from turnwise.errors import ClientFault, Overloaded, Reason, TurnwiseError

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}

_END_HALF_AN_EVENT = b"\n\n"
"""A replica may break in the middle of an event; without an empty line first, the error would be read as part of it."""


def openai_error(fault: TurnwiseError) -> bytes:
    """OpenAI's `{"error": {message, type, param, code}}`."""
    return msgspec.json.encode({"error": _openai_fields(fault)})


def openai_event(fault: TurnwiseError) -> bytes:
    """A failure within a stream. No `[DONE]` follows: clients raise on `error`, and nobody may take the answer for complete."""
    return _END_HALF_AN_EVENT + b"data: " + openai_error(fault) + b"\n\n"


def responses_event(fault: TurnwiseError) -> bytes:
    """The Responses API's `error` event, whose fields are flat; SDKs raise only on a member `error`, so that is there too."""
    fields = _openai_fields(fault)
    payload = msgspec.json.encode({**fields, "type": "error", "error": fields})
    return _END_HALF_AN_EVENT + b"event: error\ndata: " + payload + b"\n\n"


def anthropic_error(fault: TurnwiseError) -> bytes:
    """Anthropic's `{"type": "error", "error": {type, message}}`, with `details` where the fault has them."""
    is_clients = isinstance(fault, ClientFault)
    kind = _ANTHROPIC_TYPES.get(fault.status, "invalid_request_error" if is_clients else "api_error")
    error: dict[str, object] = {"type": kind, "message": fault.message}
    if isinstance(fault, ClientFault) and fault.details is not None:
        error["details"] = fault.details
    return msgspec.json.encode({"type": "error", "error": error})


def anthropic_event(fault: TurnwiseError) -> bytes:
    """Anthropic's `error` event; no `message_stop` follows, so the answer stays visibly incomplete."""
    return _END_HALF_AN_EVENT + b"event: error\ndata: " + anthropic_error(fault) + b"\n\n"


def _openai_fields(fault: TurnwiseError) -> dict[str, str | None]:
    return {"message": fault.message, "type": _openai_type(fault), "param": fault.param, "code": _openai_code(fault)}


def _openai_type(fault: TurnwiseError) -> str:
    if isinstance(fault, ClientFault):
        return "not_found_error" if fault.status == 404 else "invalid_request_error"
    return "overloaded_error" if isinstance(fault, Overloaded) else "server_error"


def _openai_code(fault: TurnwiseError) -> str:
    # Clients that switch models on their own look for this one word.
    return "model_not_found" if fault.reason is Reason.UNKNOWN_MODEL else fault.reason.value
