"""Watches the answer of `/v1/messages`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from turnwise.dialects.answer import MAX_SAID_BYTES, UNREADABLE
from turnwise.dialects.assistant import hear_messages, heard_in
from turnwise.dialects.saying import REASONING, TEXT, Piece
from turnwise.dialects.tap import AnswerTap
from turnwise.types import Usage

_NOTHING = msgspec.Raw(b"")


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Delta(msgspec.Struct, gc=False):
    type: Any = None
    text: msgspec.Raw = _NOTHING
    thinking: msgspec.Raw = _NOTHING
    partial_json: msgspec.Raw = _NOTHING
    stop_reason: str | None = None


class _Block(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None


class _Opened(msgspec.Struct, gc=False):
    type: str
    text: msgspec.Raw = _NOTHING
    thinking: msgspec.Raw = _NOTHING
    name: str = ""
    input: msgspec.Raw = _NOTHING
    id: Any = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    id: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: Any = None
    content_block: msgspec.Raw = _NOTHING
    delta: _Delta | None = None
    message: _Message | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_EVENT = msgspec.json.Decoder(_Event)
_OPENED = msgspec.json.Decoder(_Opened)
_MESSAGE = msgspec.json.Decoder(_Message)
_USAGE = msgspec.json.Decoder(_Usage)


_EMPTY = (b"", b'""', b"null")


class MessagesTap(AnswerTap[_Event]):
    """The tap of messages."""

    visible_marks = re.compile(rb'"text_delta"')
    end_marks = (re.compile(rb'"message_(?:delta|start)"'),)
    first_marks = (re.compile(rb'"(?:message_(?:delta|start)|input_json_delta)"'),)

    def _decode(self, payload: bytes) -> _Event:
        return _EVENT.decode(payload)

    def _note(self, event: _Event, now: float) -> None:
        if event.type == "message_start" and event.message is not None:
            self._read_id(event.message)
            self._read_usage(event.message.usage)
        elif event.type == "message_delta":
            if event.delta is not None:
                self._finish_reason = event.delta.stop_reason or self._finish_reason
            self._read_usage(event.usage)
        elif event.type == "content_block_delta" and event.delta is not None:
            self._note_delta(event.delta, now)

    def _note_delta(self, delta: _Delta, now: float) -> None:
        """Text, thinking and tool arguments are content, a signature is not; arguments may be empty where a tool takes none."""
        is_visible = delta.type == "text_delta" and bytes(delta.text) not in _EMPTY
        is_thinking = delta.type == "thinking_delta" and bytes(delta.thinking) not in _EMPTY
        is_tool = delta.type == "input_json_delta"
        if is_visible or is_thinking or is_tool:
            self._saw_token(now, is_visible=is_visible)
        if is_tool:
            self._saw_arguments(now)

    def _pieces(self, event: _Event) -> list[Piece] | None:
        delta, index = event.delta, event.index
        if event.type == "error" or not (index is None or (type(index) is int and index >= 0)):
            return None
        if event.type == "content_block_start":
            return _pieces_of_start(index, event.content_block)
        if event.type != "content_block_delta" or delta is None or delta.type == "signature_delta":
            return []
        if delta.type == "text_delta":
            return [Piece(TEXT, bytes(delta.text))]
        if delta.type == "thinking_delta":
            return [Piece(REASONING, bytes(delta.thinking))]
        return [Piece(index or 0, bytes(delta.partial_json))] if delta.type == "input_json_delta" else None

    def _read_document(self, document: bytes, now: float) -> None:
        try:
            message = _MESSAGE.decode(document)
        except UNREADABLE:
            return
        self._read_id(message)
        for block in message.content or ():
            if block.type == "text" and block.text:
                self.first_visible_at = now
            elif block.type == "tool_use":
                self._saw_arguments(now)
        self._finish_reason = message.stop_reason
        if self._wants_answer and len(document) <= MAX_SAID_BYTES:
            self._heard(heard_in((document,), hear_messages))
        self._read_usage(message.usage)

    def _read_id(self, message: _Message) -> None:
        if type(message.id) is str:
            self._response_id = message.id

    def _read_usage(self, raw: msgspec.Raw) -> None:
        """Take a usage object; the last one that tells of the input wins, for the first may not know of the cache yet.

        `input_tokens` leaves out what was read from the cache and what was written to it. An object that tells of the output
        alone leaves the input as it was.
        """
        try:
            usage = _USAGE.decode(raw)
        except UNREADABLE:
            return
        output = usage.output_tokens or 0
        if usage.input_tokens is None:
            if self._usage is not None:
                self._usage = msgspec.structs.replace(self._usage, completion_tokens=output)
            return
        cached = usage.cache_read_input_tokens
        prompt = usage.input_tokens + (cached or 0) + (usage.cache_creation_input_tokens or 0)
        if prompt > 0:  # no prompt is empty: an engine that has not counted yet says 0
            self._usage = Usage(prompt_tokens=prompt, completion_tokens=output, cached_tokens=cached)


def _pieces_of_start(index: int | None, raw: msgspec.Raw) -> list[Piece] | None:
    """What a block says from its start, which is nothing mostly; None where it is of another kind."""
    try:
        block = _OPENED.decode(raw)
    except UNREADABLE:
        return None
    if block.type == "tool_use":
        return [Piece(index or 0, bytes(block.input), block.name, block.id if type(block.id) is str else "")]
    if block.type == "text":
        return [Piece(TEXT, bytes(block.text))]
    return [Piece(REASONING, bytes(block.thinking))] if block.type == "thinking" else None
