"""Which tools a request lets the model call, whatever the API: their names."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.dialects.answer import UNREADABLE
from turnwise.dialects.calling import text_of
from turnwise.types import Prompt, SegmentKind


class _Function(msgspec.Struct, gc=False):
    name: Any = None


class _Named(msgspec.Struct, gc=False):
    name: Any = None
    function: _Function | None = None


class _Allowed(msgspec.Struct, gc=False):
    tools: list[_Named] | None = None


class _Choice(msgspec.Struct, gc=False):
    type: Any = None
    name: Any = None
    function: _Function | None = None
    tools: list[_Named] | None = None
    allowed_tools: _Allowed | None = None


class _Template(msgspec.Struct, gc=False):
    tool_choice: str | _Choice | None = None


_TOOLS = msgspec.json.Decoder(list[_Named])
_TEMPLATE = msgspec.json.Decoder(_Template)
_BEFORE_TOOLS = (SegmentKind.TEMPLATE, SegmentKind.TOOLS)


def num_before_turns(prompt: Prompt) -> int:
    """How many segments tools and what is told to the template take at the start of a prompt; 0 where it offers no tools."""
    end = 0
    for kind in prompt.kinds:
        if kind not in _BEFORE_TOOLS:
            break
        end += 1
    return end if end and prompt.kinds[end - 1] is SegmentKind.TOOLS else 0


def offered(prompt: Prompt, num_segments: int) -> frozenset[str]:
    """The names of tools in the first segments that `tool_choice` lets the model call; none where that cannot be read."""
    template, tools = bytearray(), bytearray()
    for kind, raw in zip(prompt.kinds[:num_segments], prompt.raws[:num_segments], strict=True):
        part = template if kind is SegmentKind.TEMPLATE else tools
        part += raw
    try:
        choice = _TEMPLATE.decode(b"{%b}" % bytes(template)).tool_choice
        names = frozenset(map(_name, _TOOLS.decode(bytes(tools))))
    except UNREADABLE:
        return frozenset()
    return _chosen(names, choice) - {""}


def _chosen(names: frozenset[str], choice: str | _Choice | None) -> frozenset[str]:
    if choice is None or isinstance(choice, str):
        return frozenset() if choice == "none" else names
    if choice.type == "none":
        return frozenset()
    tools = choice.tools if choice.allowed_tools is None else choice.allowed_tools.tools
    if tools is not None:
        return names & frozenset(map(_name, tools))
    one = _name(_Named(choice.name, choice.function))
    return names & {one} if one else names


def _name(tool: _Named) -> str:
    return text_of(tool.name) or text_of(None if tool.function is None else tool.function.name)
