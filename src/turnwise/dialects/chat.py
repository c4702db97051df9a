"""`/v1/chat/completions`: messages and tools to a prompt."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.dialects import arguments, hints, markers, turns
from turnwise.dialects.assistant import hear_chat
from turnwise.dialects.body import Body
from turnwise.dialects.conversation import ConversationDialect
from turnwise.dialects.frame import Frame
from turnwise.dialects.openai import OpenAIGeneration
from turnwise.dialects.prompt import Arguments, Parts
from turnwise.dialects.splice import asks_report, usage_splice
from turnwise.types import DialectName, Raw, SegmentKind

TEMPLATE_ARGUMENTS = Arguments(
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "documents",
    "reasoning_effort",
    "verbosity",
    "response_format",
    "tool_choice",
    "truncate_prompt_tokens",
    "truncation_side",
    defaults=(("tool_choice", b'"auto"'),),
)
"""What engines hand to the template or to what tokenizes its text, in a fixed order.

`tool_choice` counts since "none" can take the tools out and a named one can pick among them; `response_format` since vLLM
hands it to the renderers of Kimi K3 and Cohere, which write it into the prompt. `parallel_tool_calls` does not: it sorts the
output.
"""

_TOOLS = ("tools", "functions")
HASHED = frozenset(("model", *arguments.ROOT.names, *TEMPLATE_ARGUMENTS.names, *_TOOLS, "messages"))
"""Members that are part of the prompt's digests."""

_KNOWN = HASHED | arguments.NOT_RENDERED


class _Result(msgspec.Struct, gc=False):
    tool_call_id: Any = None


_RESULT = msgspec.json.Decoder(_Result)


class ChatDialect(ConversationDialect, OpenAIGeneration):
    """Chat completions.

    Tools stand before messages in the prompt, wherever the template puts them: prompts with other tools share no prefix in
    the digests, which at worst misses one.
    """

    name = DialectName.CHAT

    def __init__(self) -> None:
        super().__init__("messages", "messages")

    def frame(self, body: Body, *, splice_usage: bool) -> Frame:
        """What a chat body says beside its messages: `model`, `stream`, `n` and the token limits are checked."""
        model = arguments.model(body)
        is_stream = arguments.flag(body, "stream") is True
        splice = usage_splice(body) if splice_usage and is_stream else None
        num_choices = arguments.num_choices(body)
        max_tokens = arguments.count(body, "max_tokens")
        limit = arguments.count(body, "max_completion_tokens")
        parts = Parts()
        marks = markers.find(body.document)
        template = TEMPLATE_ARGUMENTS.template(body)
        if template:
            parts.add(SegmentKind.TEMPLATE, template)
        for name in _TOOLS:
            parts.add_unmarked(SegmentKind.TOOLS, body.raw(name), marks)
        return Frame(
            model,
            arguments.ROOT.root(model, body),
            parts.kinds,
            parts.raws,
            is_stream=is_stream,
            num_choices=num_choices,
            max_tokens=max_tokens if limit is None else limit,
            unhashed_bytes=arguments.unhashed_bytes(body, _KNOWN),
            asks_report=asks_report(body),
            hints=hints.of_frame(body, parts.marks),
            splice=splice,
        )

    def results(self, turn: Raw) -> tuple[Any, ...]:
        """The id of the call that a tool's message answers."""
        return (_RESULT.decode(turn).tool_call_id,)

    hear = staticmethod(hear_chat)
    kinds = staticmethod(turns.kinds)
