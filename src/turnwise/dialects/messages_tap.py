"""Watches the answer of `/v1/messages`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from turnwise.dialects.tap import UNREADABLE, AnswerTap
from turnwise.types import Usage


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Delta(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None
    thinking: Any = None
    stop_reason: str | None = None


class _Block(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: _Delta | None = None
    message: _Message | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_EVENT = msgspec.json.Decoder(_Event)
_MESSAGE = msgspec.json.Decoder(_Message)
_USAGE = msgspec.json.Decoder(_Usage)


class MessagesTap(AnswerTap):
    """The tap of messages. Nothing is kept for later calls, so there is no `response_id`."""

    visible_marks = re.compile(rb'"text_delta"')
    end_marks = (re.compile(rb'"message_(?:delta|start)"'),)

    def _read_event(self, payload: bytes, now: float) -> None:
        try:
            event = _EVENT.decode(payload)
        except UNREADABLE:
            return
        if event.type == "message_start" and event.message is not None:
            self._read_usage(event.message.usage)
        elif event.type == "message_delta":
            if event.delta is not None:
                self._finish_reason = event.delta.stop_reason or self._finish_reason
            self._read_usage(event.usage)
        elif event.type == "content_block_delta" and event.delta is not None:
            self._read_delta(event.delta, now)

    def _read_delta(self, delta: _Delta, now: float) -> None:
        """Text, thinking and tool arguments are content, a signature is not; arguments may be empty where a tool takes none."""
        is_visible = delta.type == "text_delta" and bool(delta.text)
        if is_visible or (delta.type == "thinking_delta" and delta.thinking) or delta.type == "input_json_delta":
            self._saw_token(now, is_visible=is_visible)

    def _read_document(self, document: bytes, now: float) -> None:
        try:
            message = _MESSAGE.decode(document)
        except UNREADABLE:
            return
        if any(block.type == "text" and block.text for block in message.content or ()):
            self.first_visible_at = now
        self._finish_reason = message.stop_reason
        self._read_usage(message.usage)

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
