"""Watches the answer of a generation: when its first token came, what it used, how it ended."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.dialects.events import ends_event, has_usage, payloads
from turnwise.types import Usage

MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
"""Largest answer in one piece that is kept for its usage; a larger one is counted as without."""

MAX_LINE_BYTES = 1024 * 1024
"""Longest unfinished line of a stream that is kept; what matters stands in lines of a few hundred bytes."""


class _CachedDetail(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedDetail | None = None


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    refusal: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _ChunkChoice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: Any = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_ChunkChoice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Message(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    text: msgspec.Raw = msgspec.Raw(b"null")
    finish_reason: str | None = None


class _Document(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_CHUNK = msgspec.json.Decoder(_Chunk)
_DOCUMENT = msgspec.json.Decoder(_Document)
_USAGE = msgspec.json.Decoder(_Usage)
_NO_TEXT = (b"null", b'""', b"[]")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class GenerationTap:
    """The tap of chat and completions; facts are the same however the bytes are cut, and garbage leaves them None.

    Until the first visible text every event is looked at. After it a read costs a few substring tests, and only the events that
    carry usage or a finish reason are parsed. An answer of status 400 or above has no facts.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.first_visible_at: float | None = None
        self.finish_reason: str | None = None
        self._is_watching = False
        self._is_stream = False
        self._held = bytearray()
        self._is_overlong = False

    def on_head(self, status: int, *, is_stream: bool) -> None:
        """The answer's head has come."""
        self._is_watching = status < 400
        self._is_stream = is_stream

    def feed(self, data: bytes, now: float) -> None:
        """Body bytes of one read."""
        if not self._is_watching:
            return
        if not self._is_stream:
            self._hold(data, MAX_DOCUMENT_BYTES)
        elif not self._held and not self._is_overlong and ends_event(data):
            self._read_lines(data, now)
        else:
            self._feed_cut(data, now)

    def close(self, now: float) -> None:
        """The body is complete."""
        if not self._is_watching:
            return
        rest, self._held = bytes(self._held), bytearray()
        if self._is_stream:
            self._read_lines(rest, now)
        elif rest or self._is_overlong:
            self.first_token_at = now
            self._read_document(rest, now)

    def _hold(self, data: bytes, limit: int) -> None:
        """Keep bytes for later; beyond `limit` forget them all and mark it."""
        if self._is_overlong or len(self._held) + len(data) > limit:
            self._is_overlong = True
            self._held.clear()
        else:
            self._held += data

    def _feed_cut(self, data: bytes, now: float) -> None:
        """A read that does not hold whole events only: hold back the line that it leaves open."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end:
            # What is left of a line that was too long starts with no `data:` and is passed over.
            lines, self._is_overlong = bytes(self._held) + data[:end], False
            self._held.clear()
            self._read_lines(lines, now)
        self._hold(data[end:], MAX_LINE_BYTES)

    def _read_lines(self, lines: bytes, now: float) -> None:
        if self.first_visible_at is None or _has_end(lines):
            for payload in payloads(lines):
                if self._matters(payload):
                    self._read_chunk(payload, now)

    def _matters(self, payload: bytes) -> bool:
        if self.first_token_at is None:
            return True
        if self.first_visible_at is None and (b'"content"' in payload or b'"text"' in payload):
            return True
        return _has_end(payload)

    def _read_chunk(self, payload: bytes, now: float) -> None:
        try:
            chunk = _CHUNK.decode(payload)
        except _UNREADABLE:
            return
        for choice in chunk.choices or ():
            delta = choice.delta or _Delta()
            is_visible = bool(delta.content or choice.text)
            is_token = is_visible or any(
                (delta.reasoning, delta.reasoning_content, delta.tool_calls, delta.function_call, delta.refusal)
            )
            if is_token and self.first_token_at is None:
                self.first_token_at = now
            if is_visible and self.first_visible_at is None:
                self.first_visible_at = now
            self.finish_reason = choice.finish_reason or self.finish_reason
        self._read_usage(chunk.usage)

    def _read_document(self, document: bytes, now: float) -> None:
        try:
            answer = _DOCUMENT.decode(document)
        except _UNREADABLE:
            return
        for choice in answer.choices or ():
            text = choice.message.content if choice.message is not None else choice.text
            if bytes(text) not in _NO_TEXT:
                self.first_visible_at = now
            self.finish_reason = choice.finish_reason or self.finish_reason
        self._read_usage(answer.usage)

    def _read_usage(self, raw: msgspec.Raw) -> None:
        try:
            usage = _USAGE.decode(raw)
        except _UNREADABLE:
            return
        details = usage.prompt_tokens_details
        self.usage = Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens or 0,
            cached_tokens=None if details is None else details.cached_tokens,
        )


def _has_end(data: bytes) -> bool:
    return b'"finish_reason":"' in data or has_usage(data) or b'"finish_reason": "' in data
