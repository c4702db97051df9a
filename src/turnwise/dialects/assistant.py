"""What an assistant turn says as each API writes it down: in a whole answer, and in the prompts that continue it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from turnwise.dialects.answer import UNREADABLE, answer
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


class _Turn(msgspec.Struct, gc=False):
    content: str | list[_Block]


class _Item(msgspec.Struct, gc=False):
    type: str = "message"
    content: _Content = None
    summary: list[_Part] | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


_MESSAGE = msgspec.json.Decoder(_Message)
_TURN = msgspec.json.Decoder(_Turn)
_ITEM = msgspec.json.Decoder(_Item)


class Heard:
    """What was said so far, turn by turn."""

    __slots__ = ("calls", "reasoning", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[tuple[str, str | bytes]] = []


def said_in(turns: Iterable[Raw], hear: Callable[[Raw, Heard], None]) -> Answer | None:
    """What these turns of one speaker say together, each heard by `hear`; None where it is nothing or cannot be told."""
    heard = Heard()
    try:
        for turn in turns:
            hear(turn, heard)
    except UNREADABLE:
        return None
    return answer("".join(heard.texts), heard.calls, "".join(heard.reasoning))


def hear_chat(turn: Raw, heard: Heard) -> None:
    """An assistant message of chat."""
    said = _MESSAGE.decode(turn)
    if said.refusal or bytes(said.function_call) != b"null":
        raise _unknown("a refusal or a call without a tool")
    heard.texts += [said.content] if isinstance(said.content, str) else _texts(said.content)
    heard.reasoning.append(said.reasoning or said.reasoning_content or "")
    for call in said.tool_calls or ():
        heard.calls.append((call.function.name, call.function.arguments or ""))


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
            heard.calls.append((block.name or "", bytes(block.input)))
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
        heard.calls.append((item.name or "", item.arguments or ""))
    elif item.type == "custom_tool_call":
        heard.calls.append((item.name or "", item.input or ""))
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
