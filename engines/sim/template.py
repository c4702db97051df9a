"""The chat template: ChatML with tools, tool calls and tool results, over all that a request holds.

Everything rendered here enters the tokens. In the plain style every message renders by itself, so extending a conversation
extends its tokens; the other styles do what real models' templates do to break that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from turnwise.engines.sim.bodies import JsonObject, Message
from turnwise.engines.sim.script import call_text, thought_text

GENERATION_HEADER = "<|im_start|>assistant\n"
DAY_S = 86_400.0
_TOOL_FIELDS = ("name", "description", "parameters", "strict")

TemplateStyle = Literal[
    "plain", "drops_reasoning", "dated", "tools_after_system", "tools_before_system", "tools_before_last_user", "trims"
]
TEMPLATE_STYLES: tuple[str, ...] = get_args(TemplateStyle)


class Template(msgspec.Struct, frozen=True):
    """How conversations are rendered.

    `plain` lists tools at the end of the system turn, and has the date nowhere. `drops_reasoning` leaves reasoning out of all
    turns of the assistant but the last. `dated` begins the system turn with the day. `tools_after_system`,
    `tools_before_system` and `tools_before_last_user` give tools a turn of their own there. `trims` strips the space around
    all turns but the last.
    """

    style: TemplateStyle = "plain"
    day_s: float = DAY_S
    """Seconds that a day lasts."""


PLAIN = Template()


def render_chat(messages: Sequence[Message], tools: Sequence[JsonObject], template: Template = PLAIN, now: float = 0.0) -> str:
    """The prompt text of a conversation at Unix time `now`, ending in the header under which the answer is written."""
    style = template.style
    if style == "drops_reasoning":
        messages = _without_old_reasoning(messages)
    elif style == "trims":
        messages = _trimmed(messages)
    rest = list(messages)
    system = rest.pop(0).text if rest[0].role in {"system", "developer"} else ""
    if style == "dated":
        system = f"Today is day {int(now // template.day_s)}.\n\n{system}"
    catalogue = _tool_catalogue(tools) if tools else ""
    turns = [_message(message) for message in rest]
    if style.startswith("tools_"):
        head = [_turn("system", system)] if system else []
        own = [_turn("system", catalogue.lstrip())] if catalogue else []
        if style == "tools_before_last_user":
            at = max((index for index, message in enumerate(rest) if message.role == "user"), default=len(rest))
            turns[at:at] = own
        else:
            head = [*own, *head] if style == "tools_before_system" else [*head, *own]
    else:
        head = [_turn("system", system + catalogue)] if system or catalogue else []
    return "".join((*head, *turns, GENERATION_HEADER))


def _without_old_reasoning(messages: Sequence[Message]) -> list[Message]:
    last = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=0)
    old = [msgspec.structs.replace(message, reasoning=None, reasoning_content=None) for message in messages[:last]]
    return [*old, *messages[last:]]


def _trimmed(messages: Sequence[Message]) -> list[Message]:
    return [*(msgspec.structs.replace(message, content=message.text.strip()) for message in messages[:-1]), *messages[-1:]]


def _message(message: Message) -> str:
    if message.role == "tool":
        return _turn("tool", f"<tool_response>\n{message.text}\n</tool_response>")
    if message.role != "assistant":
        return _turn("system" if message.role == "developer" else message.role, message.text)
    calls = "\n".join("".join(call_text(call.function.name, call.function.arguments)) for call in message.tool_calls or ())
    reasoning = message.reasoning_content or message.reasoning
    thought = "".join(thought_text(reasoning)) if reasoning else ""
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
