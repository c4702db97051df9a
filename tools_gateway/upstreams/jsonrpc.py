"""JSON-RPC 2.0 as MCP speaks it: what is read, what is written, and what a request carries in each revision."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, LOG_LEVEL_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from turnwise import __version__
from turnwise.tools_gateway.ports import Answer
from turnwise.tools_gateway.values import Fault, JsonObject, ToolFault

CLIENT_INFO: Final[JsonObject] = {"name": "turnwise", "version": __version__}
MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
METHOD_NOT_FOUND, UNSUPPORTED_VERSION = -32601, -32022
NOT_CANCELLED: Final = frozenset({"initialize", "server/discover"})
"""MCP forbids to cancel these."""

ENVELOPE: Final = frozenset(
    {PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, "progressToken", "baggage"}
)
"""What the gateway says for itself in `_meta`, or says not at all, whatever the caller wrote there."""

_ID = re.compile(rb'"id"\s*:\s*(\d{1,18})\s*[,}]')
_BODY = re.compile(rb'"(?:result|error)"')
_HEAD_BYTES = 256


class Message(msgspec.Struct, gc=False):
    """One message of the other side: a request, a notification, a result or an error."""

    id: int | str | None = None
    method: str = ""
    params: dict[str, Any] = {}
    result: dict[str, Any] | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


def decode(raw: bytes | bytearray) -> Message:
    """Read one message; raises `ValueError` for what is no message of MCP."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def encode_request(number: int, method: str, params: JsonObject) -> bytes:
    """A request."""
    return _encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def encode_notification(method: str, params: JsonObject) -> bytes:
    """A notification."""
    return _encode({"jsonrpc": "2.0", "method": method, "params": params})


def reply_alone(asked: Message) -> bytes:
    """What the other side is told to a request that it made and that no caller can answer."""
    if asked.method == "ping":
        return _encode({"jsonrpc": "2.0", "id": asked.id, "result": {}})
    return _refusal(asked, None)


async def reply(asked: Message, answer: Answer) -> bytes:
    """What the other side is told to a request that it made within one of ours."""
    if asked.method == "ping":
        return reply_alone(asked)
    try:
        return _encode({"jsonrpc": "2.0", "id": asked.id, "result": await answer(asked.method, asked.params)})
    except ToolFault as fault:
        return _refusal(asked, fault.error)


def is_modern(version: str) -> bool:
    """Whether a revision carries its envelope with each request."""
    return version in MODERN_PROTOCOL_VERSIONS


def outcome(message: Message, who: str) -> JsonObject:
    """The result of an answer; raises `ToolFault` for an error, and for what is neither."""
    if message.result is not None:
        return message.result
    if isinstance(message.error, dict):
        said = message.error.get("message")
        raise ToolFault(
            Fault.UPSTREAM_REFUSED, f"{who} refused: {said if isinstance(said, str) else 'it did not say why'}", message.error
        )
    raise ToolFault(Fault.UPSTREAM_BROKE, f"{who} answered with neither a result nor an error")


def outgoing(params: JsonObject, version: str, capabilities: JsonObject, progress_token: int | None) -> JsonObject:
    """The params of a request as a revision wants them; the caller's own are left as they are."""
    given = params.get("_meta") or {}
    meta = {key: value for key, value in given.items() if key not in ENVELOPE}
    if is_modern(version):
        meta[PROTOCOL_VERSION_META_KEY] = version
        meta[CLIENT_INFO_META_KEY] = CLIENT_INFO
        meta[CLIENT_CAPABILITIES_META_KEY] = capabilities
    else:
        meta.pop(LOG_LEVEL_META_KEY, None)
    if progress_token is not None:
        meta["progressToken"] = progress_token
    if meta:
        return {**params, "_meta": meta}
    return {key: value for key, value in params.items() if key != "_meta"} if given else params


def with_token_of(params: JsonObject, notification: JsonObject) -> JsonObject:
    """The params of a notification of progress under the token that the caller gave; without one where it gave none."""
    token = (params.get("_meta") or {}).get("progressToken")
    shown = {key: value for key, value in notification.items() if key != "progressToken"}
    return shown if token is None else {"progressToken": token, **shown}


def id_at_head(raw: bytes | bytearray) -> int | None:
    """The id that an answer which cannot be read begins with; None where it does not say."""
    found = _ID.search(_BODY.split(raw[:_HEAD_BYTES], 1)[0])
    return None if found is None else int(found[1])


def _refusal(asked: Message, error: JsonObject | None) -> bytes:
    """The client's own error, or that it does not offer what it was asked."""
    nobody: JsonObject = {"code": METHOD_NOT_FOUND, "message": f"the client does not offer {asked.method}"}
    return _encode({"jsonrpc": "2.0", "id": asked.id, "error": error or nobody})


def _encode(message: JsonObject) -> bytes:
    """On one line."""
    return _encoder.encode(message)
