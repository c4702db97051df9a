"""The chat template: ChatML with tools, tool calls and tool results, over all that a request holds.

Everything rendered here enters the tokens, and every message renders by itself, so extending a conversation extends its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from turnwise.engines.sim.bodies import JsonObject, Message
from turnwise.engines.sim.script import call_text

GENERATION_HEADER = "<|im_start|>assistant\n"
_TOOL_FIELDS = ("name", "description", "parameters", "strict")


def render_chat(messages: Sequence[Message], tools: Sequence[JsonObject]) -> str:
    """The prompt text of a conversation, ending in the header under which the answer is written."""
    rest = list(messages)
    system = rest.pop(0).text if rest[0].role in {"system", "developer"} else ""
    parts: list[str] = []
    if system or tools:
        parts.append(_turn("system", system + (_tool_catalogue(tools) if tools else "")))
    parts += [_message(message) for message in rest]
    parts.append(GENERATION_HEADER)
    return "".join(parts)


def _message(message: Message) -> str:
    if message.role == "tool":
        return _turn("tool", f"<tool_response>\n{message.text}\n</tool_response>")
    if message.role != "assistant":
        return _turn("system" if message.role == "developer" else message.role, message.text)
    calls = "\n".join("".join(call_text(call.function.name, call.function.arguments)) for call in message.tool_calls or ())
    reasoning = message.reasoning_content or message.reasoning
    thought = f"<think>\n{reasoning}\n</think>\n\n" if reasoning else ""
    text = message.text
    return _turn("assistant", thought + text + ("\n" if text and calls else "") + calls)


def _tool_catalogue(tools: Sequence[JsonObject]) -> str:
    listed = "\n".join(msgspec.json.encode(_in_order(tool)).decode() for tool in tools)
    return f"\n\n# Tools\n\nCall functions within <tool_call></tool_call>.\n<tools>\n{listed}\n</tools>"


def _in_order(tool: JsonObject) -> JsonObject:
    """A tool with its fields in one order and without nulls, so that it reads the same whichever API brought it."""
    function = {name: value for name, value in tool["function"].items() if value is not None}
    known = {name: function.pop(name) for name in _TOOL_FIELDS if name in function}
    others = {name: value for name, value in tool.items() if name not in {"type", "function"}}
    return {"type": "function", "function": {**known, **function}, **others}


def _turn(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"
