"""Watches the answer of chat and completions: when its first token came, what it used, how it ended."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from turnwise.dialects.tap import MAX_NO_TEXT_BYTES, NO_TEXT, UNREADABLE, AnswerTap
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
    usage: _Usage | None = None


class _OddDocument(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_CHUNK = msgspec.json.Decoder(_Chunk)
_DOCUMENT = msgspec.json.Decoder(_Document)
_ODD_DOCUMENT = msgspec.json.Decoder(_OddDocument)
_USAGE = msgspec.json.Decoder(_Usage)


class GenerationTap(AnswerTap):
    """The tap of chat and completions."""

    visible_marks = re.compile(rb'"(?:content|text)"')
    end_marks = (re.compile(rb'"usage": ?\{'), re.compile(rb'"finish_reason": ?"'))

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
            self._finish_reason = choice.finish_reason or self._finish_reason
        self._read_usage(chunk.usage)

    def _read_document(self, document: bytes, now: float) -> None:
        answer = _decode(document)
        if answer is None:
            return
        for choice in answer.choices or ():
            text = choice.message.content if choice.message is not None else choice.text
            if len(text) > MAX_NO_TEXT_BYTES or bytes(text) not in NO_TEXT:
                self.first_visible_at = now
            self._finish_reason = choice.finish_reason or self._finish_reason
        if isinstance(answer, _OddDocument):
            self._read_usage(answer.usage)
        elif answer.usage is not None:
            self._usage = _usage(answer.usage)

    def _read_usage(self, raw: msgspec.Raw) -> None:
        try:
            self._usage = _usage(_USAGE.decode(raw))
        except UNREADABLE:
            return


def _decode(document: bytes) -> _Document | _OddDocument | None:
    """An answer in one piece; usage of another shape spoils no other fact."""
    try:
        return _DOCUMENT.decode(document)
    except UNREADABLE:
        pass
    try:
        return _ODD_DOCUMENT.decode(document)
    except UNREADABLE:
        return None


def _usage(said: _Usage) -> Usage:
    details = said.prompt_tokens_details
    return Usage(said.prompt_tokens, said.completion_tokens or 0, None if details is None else details.cached_tokens)
