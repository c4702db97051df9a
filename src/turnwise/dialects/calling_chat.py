"""Tool calls in the answer of chat."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.dialects.calling import NOTHING, CallWatcher, Ending, arguments_of, decode, place_of, text_of

_ENDINGS = {
    "stop": Ending.CLEAN,
    "tool_calls": Ending.CLEAN,
    "function_call": Ending.CLEAN,
    "length": Ending.LENGTH,
    "content_filter": Ending.FILTERED,
}


class _Function(msgspec.Struct, gc=False):
    name: Any = None
    arguments: Any = None


class _Call(msgspec.Struct, gc=False):
    index: Any = None
    id: Any = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    tool_calls: list[_Call] | None = None
    refusal: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: Any = None
    delta: _Delta | None = None
    finish_reason: Any = None
    stop_reason: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    error: Any = None


class _WholeFunction(msgspec.Struct, frozen=True, gc=False):
    name: Any = None
    arguments: msgspec.Raw = NOTHING


class _WholeCall(msgspec.Struct, gc=False):
    id: Any = None
    function: _WholeFunction = _WholeFunction()


class _Message(msgspec.Struct, frozen=True, gc=False):
    tool_calls: list[_WholeCall] | None = None
    refusal: Any = None


class _WholeChoice(msgspec.Struct, gc=False):
    message: _Message = _Message()
    delta: _Message | None = None
    finish_reason: Any = None
    stop_reason: Any = None


class _Document(msgspec.Struct, gc=False):
    choices: list[_WholeChoice] | None = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)
_DOCUMENT = msgspec.json.Decoder(_Document)


class ChatCalls(CallWatcher):
    """The tool calls of a chat answer. Nothing there says that a call ends but the next one, or the end of all."""

    mark = b'tool_calls"'
    end_marks = (
        b'"finish_reason":"', b'"finish_reason": "', b"[DONE]", b'"error"', b'"refusal":"', b'"refusal": "',
    )  # fmt: skip

    def _read_event(self, payload: bytes, now: float) -> None:
        chunk = decode(_CHUNK, _Chunk, payload)
        if chunk.error is not None:
            self._is_lost = True
        for number, choice in enumerate(chunk.choices or ()):
            delta = choice.delta
            if delta is not None:
                self._read_calls(place_of(choice.index), delta.tool_calls or (), payload, number, now)
            self._read_end(choice, None if delta is None else delta.refusal)

    def _read_calls(self, choice: Any, calls: Any, payload: bytes, number: int, now: float) -> None:
        for position, call in enumerate(calls):
            function = call.function or _Function()
            text = function.arguments
            if text is not None and type(text) is not str:
                text = _written(payload, number, position)
            self._say(choice, place_of(call.index), text_of(call.id), text_of(function.name), text or "", now)

    def _read_document(self, document: bytes, now: float) -> None:
        whole = _DOCUMENT.decode(document)
        if whole.error is not None:
            self._is_lost = True
        for number, choice in enumerate(whole.choices or ()):
            for place, call in enumerate(choice.message.tool_calls or ()):
                arguments = arguments_of(call.function.arguments)
                self._hearer.began(number, place, text_of(call.id), text_of(call.function.name))
                self._say(number, place, "", "", arguments, now)
                self._hearer.closed(number, place, now)
            self._read_end(choice, choice.message.refusal)

    def _read_end(self, choice: _Choice | _WholeChoice, refusal: Any) -> None:
        if refusal:
            self._ended(Ending.REFUSED)
        if choice.finish_reason:
            # What vLLM tells beside: the stop string that ended it, or the number of a stop token, which models end calls with.
            is_stop_string = type(choice.stop_reason) is str
            self._ended(Ending.STOPPED if is_stop_string else _ENDINGS.get(text_of(choice.finish_reason), Ending.STOPPED))

    def _end_of_data(self) -> None:
        self._is_done = True


def _written(payload: bytes, number: int, position: int) -> str:
    """Arguments that are no string, as they were written: decoded, an object would have lost what it names twice."""
    choice = (_DOCUMENT.decode(payload).choices or ())[number]
    calls = (choice.delta or choice.message).tool_calls or ()
    return arguments_of(calls[position].function.arguments)
