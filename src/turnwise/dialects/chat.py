"""`/v1/chat/completions`: messages and tools to a prompt."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from turnwise.dialects import arguments, turns
from turnwise.dialects import prompt as parts
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.openai import OpenAIGeneration, root_arguments
from turnwise.types import DialectName, Headers, Prompt, Segment, SegmentKind

TEMPLATE_ARGUMENTS = (
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
)
"""What engines hand to the template or to what tokenizes its text, in a fixed order.

`tool_choice` counts since "none" can take the tools out and a named one can pick among them; `response_format` since vLLM
hands it to the renderers of Kimi K3 and Cohere, which write it into the prompt. `parallel_tool_calls` does not: it sorts the
output.
"""

_TOOLS = ("tools", "functions")
HASHED = frozenset(("model", *arguments.ROOT, *TEMPLATE_ARGUMENTS, *_TOOLS, "messages"))
"""Members that are part of the prompt's digests."""

_DEFAULTS = (("tool_choice", b'"auto"'),)


class ChatDialect(OpenAIGeneration):
    """Chat completions.

    Tools stand before messages in the prompt, wherever the template puts them: prompts with other tools share no prefix in
    the digests, which at worst misses one.
    """

    name = DialectName.CHAT

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read a chat request.

        Checked is what routing acts on: JSON, `model`, `messages` (objects with a role), `stream`, `n` and the token limits.
        Everything else is left to the engine, whose words about it are better. Raises `ClientFault` naming the field.
        """
        document = Body(body)
        call = self.read_common(document, splice_usage=splice_usage)
        limit = arguments.count(document, "max_completion_tokens")
        return msgspec.structs.replace(
            call,
            prompt=Prompt(root=root_arguments(call.model or "", document), segments=tuple(_segments(document))),
            max_tokens=call.max_tokens if limit is None else limit,
            unhashed_bytes=arguments.unhashed_bytes(document, HASHED),
        )


def _segments(document: Body) -> Iterator[Segment]:
    is_marked = parts.has_markers(document)
    yield from parts.template(document, TEMPLATE_ARGUMENTS, defaults=_DEFAULTS)
    for name in _TOOLS:
        yield from parts.unmarked(SegmentKind.TOOLS, document.raw(name), is_marked=is_marked)
    for position, message in enumerate(turns.read(document, "messages", "messages")):
        kind = turns.KINDS.get(turns.role(message, position), SegmentKind.OTHER)
        yield from parts.unmarked(kind, memoryview(message), is_marked=is_marked)
