"""Watches the answer of chat and completions: when its first token came, what it used, how it ended."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.dialects.tap import NO_TEXT, UNREADABLE, AnswerTap
from turnwise.types import Usage


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


class GenerationTap(AnswerTap):
    """The tap of chat and completions."""

    visible_marks = (b'"content"', b'"text"')
    end_marks = (b'"finish_reason":"', b'"usage":{', b'"usage": {', b'"finish_reason": "')

    def _read_event(self, payload: bytes, now: float) -> None:
        try:
            chunk = _CHUNK.decode(payload)
        except UNREADABLE:
            return
        for choice in chunk.choices or ():
            delta = choice.delta or _Delta()
            is_visible = bool(delta.content or choice.text)
            if is_visible or any(
                (delta.reasoning, delta.reasoning_content, delta.tool_calls, delta.function_call, delta.refusal)
            ):
                self._saw_token(now, is_visible=is_visible)
            self.finish_reason = choice.finish_reason or self.finish_reason
        self._read_usage(chunk.usage)

    def _read_document(self, document: bytes, now: float) -> None:
        try:
            answer = _DOCUMENT.decode(document)
        except UNREADABLE:
            return
        for choice in answer.choices or ():
            text = choice.message.content if choice.message is not None else choice.text
            if bytes(text) not in NO_TEXT:
                self.first_visible_at = now
            self.finish_reason = choice.finish_reason or self.finish_reason
        self._read_usage(answer.usage)

    def _read_usage(self, raw: msgspec.Raw) -> None:
        try:
            usage = _USAGE.decode(raw)
        except UNREADABLE:
            return
        details = usage.prompt_tokens_details
        self.usage = Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens or 0,
            cached_tokens=None if details is None else details.cached_tokens,
        )
