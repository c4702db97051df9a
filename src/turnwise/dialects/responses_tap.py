"""Watches the answer of `/v1/responses`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from turnwise.dialects.answer import MAX_SAID_BYTES, UNREADABLE
from turnwise.dialects.assistant import Heard, hear_responses, heard_in
from turnwise.dialects.saying import Piece
from turnwise.dialects.tap import AnswerTap
from turnwise.types import Usage

_PENDING = ("queued", "in_progress")
_CALLS = ("function_call", "custom_tool_call")
_TOOL_DELTAS = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")


class _CachedDetail(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int
    output_tokens: int | None = None
    input_tokens_details: _CachedDetail | None = None


class _Part(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None


class _Item(msgspec.Struct, gc=False):
    type: Any = None
    content: list[_Part] | None = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    id: str | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    output: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    response: _Response | None = None


_EVENT = msgspec.json.Decoder(_Event)
_RESPONSE = msgspec.json.Decoder(_Response)
_OUTPUT = msgspec.json.Decoder(list[_Item])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_USAGE = msgspec.json.Decoder(_Usage)


class ResponsesTap(AnswerTap[_Event]):
    """The tap of responses.

    `response_id` is the id that the answer bears; whether the replica keeps it under that id, the request says (`store`).
    """

    visible_marks = re.compile(rb'"response\.output_text\.delta"')
    end_marks = (re.compile(rb'"response\.(?:completed|incomplete|failed|cancelled|created)"'),)
    first_marks = (
        re.compile(
            rb'"response\.(?:completed|incomplete|failed|cancelled|created|(?:function_call_arguments|custom_tool_call_input)\.delta)"'
        ),
    )

    says_in_pieces = False

    def _decode(self, payload: bytes) -> _Event:
        return _EVENT.decode(payload)

    def _note(self, event: _Event, now: float) -> None:
        if event.response is not None:
            self._read_response(event.response)
        elif event.type.startswith("response.") and event.type.endswith(".delta") and event.delta:
            self._saw_token(now, is_visible=event.type == "response.output_text.delta")
            if event.type in _TOOL_DELTAS:
                self._saw_arguments(now)

    def _pieces(self, event: _Event) -> tuple[Piece, ...]:  # noqa: ARG002 - the last event has all of it
        return ()

    def _read_document(self, document: bytes, now: float) -> None:
        try:
            response = _RESPONSE.decode(document)
        except UNREADABLE:
            return
        self._read_response(response)
        if response.status in _PENDING:
            self.first_token_at = None  # the replica answers before it has begun, and generates in the background
            return
        items = _items(response.output)
        if any(item.type in _CALLS for item in items):
            self._saw_arguments(now)
        if any(map(_shows_text, items)):
            self.first_visible_at = now

    def _read_response(self, response: _Response) -> None:
        self._response_id = response.id or self._response_id
        if response.status is not None and response.status not in _PENDING:
            details = response.incomplete_details
            self._finish_reason = (details.reason if details is not None else None) or response.status
            if self._wants_answer and len(response.output) <= MAX_SAID_BYTES:
                self._heard(_heard(response.output))
        try:
            usage = _USAGE.decode(response.usage)
        except UNREADABLE:
            return
        cached = usage.input_tokens_details
        self._usage = Usage(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens or 0,
            cached_tokens=None if cached is None else cached.cached_tokens,
        )


def _heard(output: msgspec.Raw) -> Heard | None:
    try:
        items = _ITEMS.decode(output)
    except UNREADABLE:
        return None
    return heard_in(items, hear_responses)


def _items(output: msgspec.Raw) -> list[_Item]:
    try:
        return _OUTPUT.decode(output)
    except UNREADABLE:
        return []


def _shows_text(item: _Item) -> bool:
    return item.type == "message" and any(part.type == "output_text" and part.text for part in item.content or ())
