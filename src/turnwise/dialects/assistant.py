"""What an assistant turn says as each API writes it down: in a whole answer, and in the prompts that continue it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from turnwise.dialects import quotes
from turnwise.dialects.answer import UNREADABLE, answer
from turnwise.turns import MAX_ID_CHARS, ToolCall
from turnwise.types import Answer, Raw

_NOTHING = msgspec.Raw(b"null")
_TEXT_PARTS = frozenset(("text", "output_text", "input_text"))


class _Part(msgspec.Struct, gc=False):
    type: str
    text: str | None = None


_Content = str | list[_Part] | None


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function
    id: Any = None


class _Message(msgspec.Struct, gc=False):
    content: _Content = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None
    refusal: str | None = None
    function_call: msgspec.Raw = _NOTHING


class _Block(msgspec.Struct, gc=False):
    type: str
    text: str | None = None
    thinking: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"")
    id: Any = None


class _Turn(msgspec.Struct, gc=False):
    content: str | list[_Block]


class _Item(msgspec.Struct, gc=False):
    type: str = "message"
    content: _Content = None
    summary: list[_Part] | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    call_id: Any = None


_MESSAGE = msgspec.json.Decoder(_Message)
_TURN = msgspec.json.Decoder(_Turn)
_ITEM = msgspec.json.Decoder(_Item)


class Heard:
    """What was said so far, turn by turn."""

    __slots__ = ("calls", "ids", "reasoning", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[tuple[str, str | bytes]] = []
        self.ids: list[Any] = []
        """What stands as the id of each call."""

    def add_call(self, call_id: Any, name: str | None, arguments: str | bytes | None) -> None:
        """Note a tool call; what it is given is a JSON text."""
        self.ids.append(call_id)
        self.calls.append((name or "", arguments or ""))

    def answer(self) -> Answer | None:
        """What all of it says; None for nothing."""
        return answer("".join(self.texts), self.calls, "".join(self.reasoning))

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls."""
        return tuple(tool_call(call_id, *call) for call_id, call in zip(self.ids, self.calls, strict=True))


def tool_call(call_id: Any, name: str, arguments: str | bytes) -> ToolCall:
    """A tool call with these arguments, a JSON text.

    Its id is empty where it is no text or longer than any API's, and its name is cut at that length.
    """
    if type(call_id) is not str or len(call_id) > MAX_ID_CHARS:
        call_id = ""
    num_bytes = len(arguments.encode() if isinstance(arguments, str) else arguments)
    return ToolCall(call_id, name[:MAX_ID_CHARS], num_bytes, quotes.of_arguments(arguments))


def heard_in(turns: Iterable[Raw], hear: Callable[[Raw, Heard], None]) -> Heard | None:
    """What these turns of one speaker say, each heard by `hear`; None where it cannot be told."""
    heard = Heard()
    try:
        for turn in turns:
            hear(turn, heard)
    except UNREADABLE:
        return None
    return heard


def said_in(turns: Iterable[Raw], hear: Callable[[Raw, Heard], None]) -> Answer | None:
    """What these turns say together; None where it is nothing or cannot be told."""
    heard = heard_in(turns, hear)
    return None if heard is None else heard.answer()


def hear_chat(turn: Raw, heard: Heard) -> None:
    """An assistant message of chat."""
    said = _MESSAGE.decode(turn)
    if said.refusal or bytes(said.function_call) != b"null":
        raise _unknown("a refusal or a call without a tool")
    heard.texts += [said.content] if isinstance(said.content, str) else _texts(said.content)
    heard.reasoning.append(said.reasoning or said.reasoning_content or "")
    for call in said.tool_calls or ():
        heard.add_call(call.id, call.function.name, call.function.arguments)


def hear_messages(turn: Raw, heard: Heard) -> None:
    """An assistant message of Anthropic's API, or a whole answer of it, which has the same content."""
    content = _TURN.decode(turn).content
    if isinstance(content, str):
        heard.texts.append(content)
        return
    for block in content:
        if block.type == "text":
            heard.texts.append(block.text or "")
        elif block.type == "thinking":
            heard.reasoning.append(block.thinking or "")
        elif block.type == "tool_use":
            heard.add_call(block.id, block.name, bytes(block.input))
        else:
            raise _unknown(block.type)


def hear_responses(turn: Raw, heard: Heard) -> None:
    """An item of the Responses API that a model made."""
    item = _ITEM.decode(turn)
    if item.type == "message":
        heard.texts += [item.content] if isinstance(item.content, str) else _texts(item.content)
    elif item.type == "reasoning":
        heard.reasoning += _reasoning(item)
    elif item.type == "function_call":
        heard.add_call(item.call_id, item.name, item.arguments)
    elif item.type == "custom_tool_call":
        heard.add_call(item.call_id, item.name, item.input)
    else:
        raise _unknown(item.type)


def _texts(content: list[_Part] | None) -> list[str]:
    if content is None:
        return []
    for part in content:
        if part.type not in _TEXT_PARTS:
            raise _unknown(part.type)
    return [part.text or "" for part in content]


def _reasoning(item: _Item) -> list[str]:
    """The reasoning itself, or the summary where an engine shows no more."""
    if isinstance(item.content, str):
        return [item.content]
    return [part.text or "" for part in item.content or item.summary or ()]


def _unknown(what: str) -> msgspec.ValidationError:
    """What is raised where a turn says something in a way that is not known here."""
    return msgspec.ValidationError(f"{what} is not known here")
