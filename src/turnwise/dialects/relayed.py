"""APIs that are relayed without being understood: only the model is read, so that a replica that serves it is chosen."""

from __future__ import annotations

import msgspec

from turnwise.dialects import multipart, shapes
from turnwise.dialects.bare import NoTurns
from turnwise.dialects.base import ReadCall
from turnwise.dialects.usage_filter import NeverSpliced
from turnwise.errors import TurnwiseError
from turnwise.types import DialectName, Headers


class _Head(msgspec.Struct, gc=False):
    model: msgspec.Raw = msgspec.Raw(b"null")
    stream: msgspec.Raw = msgspec.Raw(b"null")


_TRUE = ("true", "True", "1")
_HEAD = msgspec.json.Decoder(_Head)
_MODEL = msgspec.json.Decoder(str)


class RelayedDialect(NoTurns, NeverSpliced):
    """One relayed API; `name` decides the shape of errors."""

    def __init__(self, name: DialectName) -> None:
        self.name = name

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read `model` and `stream` where the body is a JSON object or a form; never raises.

        A body that cannot be read (none, malformed) goes to any replica, whose engine answers for it.
        """
        head = _head(body)
        if head is None:
            form = multipart.fields(body, headers)
            return ReadCall(body=body, model=form.get("model") or None, is_stream=form.get("stream") in _TRUE)
        return ReadCall(body=body, model=_model(head.model), is_stream=bytes(head.stream) == b"true")

    def tap(self, *, wants_answer: bool = False) -> None:
        """Nothing is watched."""

    def error(self, fault: TurnwiseError) -> bytes:
        """JSON body of an error answer."""
        return shapes.anthropic_error(fault) if self.name is DialectName.COUNT_TOKENS else shapes.openai_error(fault)

    def error_event(self, fault: TurnwiseError) -> bytes:
        """Event that tells of a failure within a stream."""
        if self.name is DialectName.COUNT_TOKENS:
            return shapes.anthropic_event(fault)
        return shapes.responses_event(fault) if self.name is DialectName.STORED else shapes.openai_event(fault)


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
