"""APIs that are relayed without being understood: only the model is read, so that a replica that serves it is chosen."""

from __future__ import annotations

import msgspec

from turnwise.dialects import shapes
from turnwise.dialects.base import ReadCall, StreamFilter
from turnwise.errors import TurnwiseError
from turnwise.types import DialectName, Headers


class _Head(msgspec.Struct, gc=False):
    model: msgspec.Raw = msgspec.Raw(b"null")
    stream: msgspec.Raw = msgspec.Raw(b"null")


_HEAD = msgspec.json.Decoder(_Head)
_MODEL = msgspec.json.Decoder(str)


class RelayedDialect:
    """One relayed API; `name` decides the shape of errors."""

    def __init__(self, name: DialectName) -> None:
        self.name = name

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read `model` and `stream` where the body is a JSON object; never raises.

        A body that cannot be read (multipart, none, malformed) goes to any replica, whose engine answers for it.
        """
        head = _head(body)
        if head is None:
            return ReadCall(body=body)
        return ReadCall(body=body, model=_model(head.model), is_stream=bytes(head.stream) == b"true")

    def tap(self) -> None:
        """Nothing is watched."""

    def usage_filter(self) -> StreamFilter:
        """A filter that drops nothing: these bodies are never spliced."""
        return _Unfiltered()

    def error(self, fault: TurnwiseError) -> bytes:
        """JSON body of an error answer."""
        return shapes.anthropic_error(fault) if self.name is DialectName.MESSAGES else shapes.openai_error(fault)

    def error_event(self, fault: TurnwiseError) -> bytes:
        """Event that tells of a failure within a stream."""
        if self.name is DialectName.MESSAGES:
            return shapes.anthropic_event(fault)
        return shapes.responses_event(fault) if self.name is DialectName.RESPONSES else shapes.openai_event(fault)


class _Unfiltered:
    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> bytes:
        return b""


def _head(body: bytes) -> _Head | None:
    try:
        return _HEAD.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _model(raw: msgspec.Raw) -> str | None:
    try:
        return _MODEL.decode(raw) or None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
