"""Reading a request and writing an answer, the little of ASGI that is not the SDK's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]


class Gone(Exception):
    """The client left before its request was whole."""


class TooLarge(Exception):
    """The request's body passes the bound."""


async def read_body(headers: dict[bytes, bytes], receive: Receive, max_bytes: int) -> bytes:
    """The whole body of a request; raises `TooLarge` or `Gone`."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > max_bytes:
        raise TooLarge
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        if len(body) > max_bytes:
            raise TooLarge
        return body
    pieces = bytearray(body)
    while message["type"] == "http.request" and message.get("more_body"):
        message = await receive()
        pieces += message.get("body", b"")
        if len(pieces) > max_bytes:
            raise TooLarge
    if message["type"] != "http.request":
        raise Gone
    return bytes(pieces)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already."""
    is_given = False

    async def receive_again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def send_text(send: Send, status: int, text: str, headers: Headers | None = None) -> None:
    """Answer in words."""
    await _send(send, status, b"text/plain; charset=utf-8", text.encode(), headers or [])


async def send_json(send: Send, status: int, value: Any, headers: Headers | None = None) -> None:
    """Answer with a JSON value."""
    await _send(send, status, b"application/json", msgspec.json.encode(value), headers or [])


async def _send(send: Send, status: int, media_type: bytes, body: bytes, headers: Headers) -> None:
    length = str(len(body)).encode()
    head: Headers = [(b"content-type", media_type), (b"content-length", length), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
