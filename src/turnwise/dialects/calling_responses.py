"""Tool calls in the answer of responses."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.dialects.calling import CallWatcher, Ending, decode, place_of, text_of
from turnwise.dialects.calling_frame import Place

_UNFINISHED = ("queued", "in_progress")
_CUTS = {"max_output_tokens": Ending.LENGTH, "max_tokens": Ending.LENGTH, "content_filter": Ending.FILTERED}


class _Item(msgspec.Struct, gc=False):
    type: Any = None
    call_id: Any = None
    name: Any = None
    arguments: Any = None
    status: Any = None
    content: Any = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: Any = None


class _Response(msgspec.Struct, gc=False):
    status: Any = None
    incomplete_details: _Incomplete | None = None
    output: list[_Item] | None = None


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    output_index: Any = None
    item_id: Any = None
    delta: Any = None
    arguments: Any = None
    item: _Item | None = None
    response: _Response | None = None


_EVENT = msgspec.json.Decoder(_Event)
_RESPONSE = msgspec.json.Decoder(_Response)


class ResponsesCalls(CallWatcher):
    """The tool calls of a response: items of type `function_call`. Tools that the server runs itself are none."""

    mark = b"function_call"
    end_marks = (
        b'"response.completed"', b'"response.incomplete"', b'"response.failed"', b'"response.cancelled"', b'"error"',
        b'"response.refusal',
    )  # fmt: skip

    def _read_event(self, payload: bytes, now: float) -> None:
        event = decode(_EVENT, _Event, payload)
        kind, item = text_of(event.type), event.item
        place = place_of(event.output_index, event.item_id)
        if kind == "response.function_call_arguments.delta":
            self._say(0, place, "", "", text_of(event.delta), now)
        elif kind == "response.function_call_arguments.done":
            self._hearer.closed(0, place, now, text=_final(event.arguments))
        elif item is not None and item.type == "function_call":
            if kind == "response.output_item.added":
                self._begin(place, item, now)
            elif kind == "response.output_item.done":
                self._close(place, item, now)
        elif kind == "error":
            self._is_lost = True
        elif kind.startswith("response.refusal"):
            self._ended(Ending.REFUSED)
        elif event.response is not None and event.response.status not in _UNFINISHED:
            self._read_end(event.response)

    def _begin(self, place: Place, item: _Item, now: float) -> None:
        self._hearer.began(0, place, text_of(item.call_id), text_of(item.name))
        self._say(0, place, "", "", text_of(item.arguments), now)

    def _close(self, place: Place, item: _Item, now: float) -> None:
        if item.status not in (None, "completed"):
            self._hearer.cut(0, place, now)
            return
        call_id, name = text_of(item.call_id), text_of(item.name)
        self._hearer.closed(0, place, now, text=_final(item.arguments), call_id=call_id, name=name)

    def _read_document(self, document: bytes, now: float) -> None:
        response = _RESPONSE.decode(document)
        for place, item in enumerate(response.output or ()):
            if item.type == "function_call":
                self._begin(place, item, now)
                self._close(place, item, now)
            elif _is_refusal(item):
                self._ended(Ending.REFUSED)
        self._read_end(response)

    def _read_end(self, response: _Response) -> None:
        self._is_done = True
        if response.status == "completed":
            self._ended(Ending.CLEAN)
        elif response.status == "incomplete":
            details = response.incomplete_details
            self._ended(_CUTS.get(text_of(None if details is None else details.reason), Ending.STOPPED))
        else:
            self._ended(Ending.BROKEN)


def _is_refusal(item: _Item) -> bool:
    """Whether an item is a message that refuses."""
    parts = item.content if type(item.content) is list else ()
    return any(type(part) is dict and part.get("type") == "refusal" for part in parts)


def _final(arguments: Any) -> str | None:
    """Arguments as an event repeats them; None where it does not."""
    return arguments if type(arguments) is str else None
