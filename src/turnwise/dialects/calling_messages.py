"""Tool calls in the answer of messages."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.dialects.calling import NOTHING, CallWatcher, Ending, Hearer, arguments_of, decode, place_of, text_of
from turnwise.dialects.calling_frame import Place

_ENDINGS = {
    "tool_use": Ending.CLEAN,
    "end_turn": Ending.CLEAN,
    "max_tokens": Ending.LENGTH,
    "model_context_window_exceeded": Ending.LENGTH,
    "refusal": Ending.REFUSED,
}


_NO_INPUT = (b"{}", b"{ }")
"""What stands in the start of a block whose input comes in pieces."""


class _Block(msgspec.Struct, gc=False):
    type: Any = None
    id: Any = None
    name: Any = None
    input: msgspec.Raw = NOTHING


class _Delta(msgspec.Struct, gc=False):
    type: Any = None
    partial_json: Any = None
    stop_reason: Any = None


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    index: Any = None
    content_block: _Block | None = None
    delta: _Delta | None = None


class _Document(msgspec.Struct, gc=False):
    type: Any = None
    content: list[_Block] | None = None
    stop_reason: Any = None


_EVENT = msgspec.json.Decoder(_Event)
_DOCUMENT = msgspec.json.Decoder(_Document)


class MessagesCalls(CallWatcher):
    """The tool calls of an answer of messages: blocks of type `tool_use`, and no others that take input."""

    mark = b'tool_use"'
    end_marks = (b'"message_delta"', b'"message_stop"', b'"error"')

    def __init__(self, hearer: Hearer, *, is_one_of_several: bool = False) -> None:
        super().__init__(hearer, is_one_of_several=is_one_of_several)
        self._open: dict[Place, None] = {}
        """Blocks that are being written, the newest last; servers that leave out the index write one at a time."""

    def _read_event(self, payload: bytes, now: float) -> None:
        event = decode(_EVENT, _Event, payload)
        kind, block, delta = event.type, event.content_block, event.delta
        if kind == "content_block_delta":
            if delta is not None and delta.type == "input_json_delta":
                place = place_of(event.index, next(reversed(self._open), 0))
                if place in self._open:
                    self._say(0, place, "", "", text_of(delta.partial_json), now)
        elif kind == "content_block_start":
            if block is not None and block.type == "tool_use":
                self._begin(place_of(event.index), block, now)
        elif kind == "content_block_stop":
            self._close(place_of(event.index, next(reversed(self._open), 0)), now)
        elif kind == "message_delta":
            if delta is not None and delta.stop_reason:
                self._ended(_ENDINGS.get(text_of(delta.stop_reason), Ending.STOPPED))
        elif kind == "message_stop":
            self._is_done = True
        elif kind == "error":
            self._is_lost = True

    def _begin(self, place: Place, block: _Block, now: float) -> None:
        self._open.pop(place, None)
        self._open[place] = None
        self._is_open = True
        self._hearer.began(0, place, text_of(block.id), text_of(block.name))
        arguments = arguments_of(block.input)
        if arguments and bytes(block.input) not in _NO_INPUT:
            self._say(0, place, "", "", arguments, now)

    def _close(self, place: Place, now: float) -> None:
        if place in self._open:
            del self._open[place]
            self._is_open = bool(self._open)
            self._hearer.closed(0, place, now)

    def _read_document(self, document: bytes, now: float) -> None:
        whole = _DOCUMENT.decode(document)
        if whole.type == "error":
            self._is_lost = True
        for place, block in enumerate(whole.content or ()):
            if block.type == "tool_use":
                self._begin(place, block, now)
                self._close(place, now)
        if whole.stop_reason:
            self._ended(_ENDINGS.get(text_of(whole.stop_reason), Ending.STOPPED))
