"""Reads captured calls: JSON lines, each a request with its path and body, or the body alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from turnwise.dialects import match
from turnwise.errors import ClientFault
from turnwise.proxy.reading import Reader
from turnwise.proxy.replay.files import read_lines
from turnwise.proxy.replay.trace import TraceError
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits
from turnwise.types import Request

ApiName = Literal["chat", "messages", "responses"]
PATHS: Mapping[ApiName, str] = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}

_EXPECTED = "expected a request with `path` and `body`, or a body with `messages` or `input`"


_ABSENT = msgspec.Raw(b"")


class _Line(msgspec.Struct, gc=False):
    """What is read of a line, whichever of the two it is."""

    method: str = "POST"
    path: str | None = None
    headers: dict[str, str] | list[tuple[str, str]] = {}
    body: msgspec.Raw = _ABSENT
    messages: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    system: msgspec.Raw = _ABSENT


class CapturedCall(msgspec.Struct, frozen=True):
    """One line of a capture; `request` is None where it is no call to compare, and `problem` says why if it should be one."""

    number: int
    request: Request | None
    problem: str = ""


_LINES = msgspec.json.Decoder(_Line)
_TEXT = msgspec.json.Decoder(str)


def read_calls(path: Path, api: ApiName | None = None) -> Iterator[CapturedCall]:
    """The calls of a capture, plain or gzip, in its order; `api` is that of bare bodies, told by their members where None.

    A body that is a JSON object is compared with the spelling that it has in the file; as a JSON string it is the bytes that
    the client sent. Raises `TraceError`, naming file and line, for what is no capture.
    """
    reader = Reader(Edits(include_usage=False))
    is_empty = True
    for number, text in read_lines(path):
        is_empty = False
        try:
            line = _LINES.decode(text)
        except msgspec.ValidationError as error:
            raise TraceError(str(path), number, f"is no captured call: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TraceError(str(path), number, f"is not valid JSON: {error}") from None
        target, body = _target_and_body(line, text.strip(), api, path, number)
        yield _read(reader, line, target, body, number)
    if is_empty:
        raise TraceError(str(path), None, "is empty")


def _target_and_body(line: _Line, text: bytes, api: ApiName | None, path: Path, number: int) -> tuple[str, bytes]:
    if line.path is None:
        if line.messages is _ABSENT and line.input is _ABSENT:
            raise TraceError(str(path), number, f"is no captured call: {_EXPECTED}")
        return PATHS[api or _api_of(line)], text
    raw = bytes(line.body)
    if raw[:1] == b'"':
        return line.path, _TEXT.decode(raw).encode()
    return line.path, b"" if raw == b"null" else raw


def _api_of(line: _Line) -> ApiName:
    """The API of a bare body: one with `system` beside its messages is Anthropic's."""
    if line.input is not _ABSENT:
        return "responses"
    return "chat" if line.system is _ABSENT else "messages"


def _read(reader: Reader, line: _Line, target: str, body: bytes, number: int) -> CapturedCall:
    try:
        route = match(line.method, target)
        pairs = line.headers.items() if isinstance(line.headers, dict) else line.headers
        fields = {name.lower().encode(): value.encode() for name, value in pairs}
        raw = RawRequest(line.method, target, tuple(fields.items()), body, 0.0, 0.0, fields)
        return CapturedCall(number, reader.read(raw, route, str(number)))
    except ClientFault as fault:
        # A health check or an unknown path has no prompt; a body that the proxy refuses should have had one.
        return CapturedCall(number, None, fault.message if fault.status == 400 else "")
