"""Watches the answer of chat and completions: when its first token came, what it used, how it ended."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from turnwise.dialects.answer import MAX_SAID_BYTES, UNREADABLE, answer
from turnwise.dialects.assistant import Heard, hear_chat, heard_in
from turnwise.dialects.saying import REASONING, TEXT, Piece
from turnwise.dialects.tap import MAX_NO_TEXT_BYTES, NO_TEXT, AnswerTap
from turnwise.types import Raw, Usage

_NULL = msgspec.Raw(b"null")


class _CachedDetail(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedDetail | None = None


class _FunctionDelta(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: msgspec.Raw = _NULL


class _CallDelta(msgspec.Struct, gc=False):
    index: Annotated[int, msgspec.Meta(ge=0)]
    function: _FunctionDelta | None = None
    id: Any = None


class _Delta(msgspec.Struct, gc=False):
    content: msgspec.Raw = _NULL
    refusal: msgspec.Raw = _NULL
    reasoning: msgspec.Raw = _NULL
    reasoning_content: msgspec.Raw = _NULL
    tool_calls: msgspec.Raw = _NULL
    function_call: msgspec.Raw = _NULL


class _ChunkChoice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: msgspec.Raw = _NULL
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_ChunkChoice] | None = None
    usage: msgspec.Raw = _NULL
    id: Any = None


class _Message(msgspec.Struct, gc=False):
    content: msgspec.Raw = _NULL
    tool_calls: msgspec.Raw = _NULL


class _Choice(msgspec.Struct, gc=False):
    message: msgspec.Raw = _NULL
    text: msgspec.Raw = _NULL
    finish_reason: str | None = None


class _Document(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    id: Any = None


class _OddDocument(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NULL
    id: Any = None


class _PlainMessage(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: msgspec.Raw = _NULL
    tool_calls: msgspec.Raw = _NULL
    function_call: msgspec.Raw = _NULL


class _PlainChoice(msgspec.Struct, gc=False):
    message: _PlainMessage | None = None
    finish_reason: str | None = None


class _PlainDocument(msgspec.Struct, gc=False):
    choices: list[_PlainChoice]
    usage: _Usage | None = None
    id: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)
_PLAIN_DOCUMENT = msgspec.json.Decoder(_PlainDocument)
_CALLS = msgspec.json.Decoder(list[_CallDelta])
_MESSAGE = msgspec.json.Decoder(_Message)
_TEXT = msgspec.json.Decoder(str)
_DOCUMENT = msgspec.json.Decoder(_Document)
_ODD_DOCUMENT = msgspec.json.Decoder(_OddDocument)
_USAGE = msgspec.json.Decoder(_Usage)


_NO_DELTA = _Delta()
_NO_FUNCTION = _FunctionDelta()
_NO_MESSAGE = _Message()


class GenerationTap(AnswerTap[_Chunk]):
    """The tap of chat and completions."""

    visible_marks = re.compile(rb'"(?:content|text)"')
    end_marks = (re.compile(rb'"usage": ?\{'), re.compile(rb'"finish_reason": ?"'))
    first_marks = (*end_marks, re.compile(rb'"arguments":'))

    def _decode(self, payload: bytes) -> _Chunk:
        return _CHUNK.decode(payload)

    def _note(self, event: _Chunk, now: float) -> None:
        if self._response_id is None and type(event.id) is str:
            self._response_id = event.id
        for choice in event.choices or ():
            delta = choice.delta or _NO_DELTA
            is_visible = _is_given(delta.content) or _is_given(choice.text)
            hidden = (delta.reasoning, delta.reasoning_content, delta.tool_calls, delta.function_call, delta.refusal)
            if is_visible or any(map(_is_given, hidden)):
                self._saw_token(now, is_visible=is_visible)
            if self._first_tool_at is None and _has_arguments(delta.tool_calls):
                self._saw_arguments(now)
            self._finish_reason = choice.finish_reason or self._finish_reason
        self._read_usage(event.usage)

    def _pieces(self, event: _Chunk) -> list[Piece] | None:
        choices = event.choices
        if not choices:
            return []
        delta = choices[0].delta or _NO_DELTA
        if len(choices) > 1 or _is_given(delta.refusal) or _is_given(delta.function_call):
            return None
        pieces = [Piece(TEXT, bytes(raw)) for raw in (choices[0].text, delta.content) if _is_given(raw)]
        reasoning = delta.reasoning if _is_given(delta.reasoning) else delta.reasoning_content
        if _is_given(reasoning):
            pieces.append(Piece(REASONING, bytes(reasoning)))
        if not _is_given(delta.tool_calls):
            return pieces
        try:
            calls = _CALLS.decode(delta.tool_calls)
        except UNREADABLE:
            return None
        return pieces + [_piece(call, call.function or _NO_FUNCTION) for call in calls]

    def _read_document(self, document: bytes, now: float) -> None:
        whole = None if self._read_plain(document, now) else _decode(document)
        if whole is None:
            return
        if type(whole.id) is str:
            self._response_id = whole.id
        choices = whole.choices or ()
        for choice in choices:
            message = _message(choice)
            if _is_given(message.content):
                self.first_visible_at = now
            if _is_given(message.tool_calls):
                self._saw_arguments(now)
            self._finish_reason = choice.finish_reason or self._finish_reason
        if self._wants_answer and len(choices) == 1:
            self._heard(_heard(choices[0]))
        if isinstance(whole, _OddDocument):
            self._read_usage(whole.usage)
        elif whole.usage is not None:
            self._usage = _usage(whole.usage)

    def _read_plain(self, document: bytes, now: float) -> bool:
        """Read an answer of one message with text and reasoning alone, decoded once; False where it is another, or odd."""
        if len(document) > MAX_SAID_BYTES:
            return False
        try:
            whole = _PLAIN_DOCUMENT.decode(document)
        except UNREADABLE:
            return False
        choices, usage = whole.choices, whole.usage
        message = choices[0].message if len(choices) == 1 else None
        if message is None or any(map(_is_given, (message.refusal, message.tool_calls, message.function_call))):
            return False
        text = message.content
        if text:
            self.first_visible_at = now
        if type(whole.id) is str:
            self._response_id = whole.id
        self._finish_reason = choices[0].finish_reason or None
        if self._wants_answer:
            self._answer = answer(text or "", (), message.reasoning or message.reasoning_content or "")
        if usage is not None:
            self._usage = _usage(usage)
        return True

    def _read_usage(self, raw: msgspec.Raw) -> None:
        if len(raw) <= len(b"null"):  # an exception would cost five times as much as the rest of an event
            return
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


def _is_given(raw: msgspec.Raw) -> bool:
    return raw is not _NULL and (len(raw) > MAX_NO_TEXT_BYTES or bytes(raw) not in NO_TEXT)


def _piece(call: _CallDelta, function: _FunctionDelta) -> Piece:
    arguments = bytes(function.arguments) if _is_given(function.arguments) else b""
    return Piece(call.index, arguments, function.name or "", call.id if type(call.id) is str else "")


def _has_arguments(raw: msgspec.Raw) -> bool:
    """Whether a piece of any call's arguments is among these tool calls."""
    if not _is_given(raw):
        return False
    try:
        calls = _CALLS.decode(raw)
    except UNREADABLE:
        return False
    return any(_is_given((call.function or _NO_FUNCTION).arguments) for call in calls)


def _message(choice: _Choice) -> _Message:
    """The message of a choice, or one of its text."""
    if choice.message is _NULL:
        return _Message(choice.text)
    try:
        return _MESSAGE.decode(choice.message)
    except UNREADABLE:
        return _NO_MESSAGE


def _heard(choice: _Choice) -> Heard | None:
    """What the only choice of an answer says."""
    if len(choice.message) > MAX_SAID_BYTES or len(choice.text) > MAX_SAID_BYTES:
        return None
    if choice.message is not _NULL:
        return heard_in((choice.message,), hear_chat)
    return heard_in((choice.text,), _hear_text)


def _hear_text(text: Raw, heard: Heard) -> None:
    heard.texts.append(_TEXT.decode(text))


def _usage(said: _Usage) -> Usage:
    details = said.prompt_tokens_details
    return Usage(said.prompt_tokens, said.completion_tokens or 0, None if details is None else details.cached_tokens)
