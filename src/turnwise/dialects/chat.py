"""`/v1/chat/completions`: messages and tools to a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from turnwise.dialects import prompt as parts
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.openai import OpenAIGeneration, root_arguments
from turnwise.errors import ClientFault
from turnwise.types import DialectName, Headers, Prompt, Segment, SegmentKind

MAX_MESSAGES = 50_000
"""Each message costs about a microsecond: without a bound, 32 MiB of empty messages would hold the loop for ten seconds."""

TEMPLATE_ARGUMENTS = (
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "documents",
    "reasoning_effort",
    "tool_choice",
    "truncate_prompt_tokens",
)
"""What engines hand to the template or to what tokenizes its text, in a fixed order.

`tool_choice` counts since "none" can take the tools out and a named one can pick among them. `response_format` does not:
guided decoding constrains the output and leaves the prompt as it is. Nor does `parallel_tool_calls`, which sorts the output.
"""

_DEFAULTS = (("tool_choice", b'"auto"'),)
_KINDS = {
    "system": SegmentKind.SYSTEM,
    "developer": SegmentKind.SYSTEM,
    "user": SegmentKind.USER,
    "assistant": SegmentKind.ASSISTANT,
    "tool": SegmentKind.TOOL,
    "function": SegmentKind.TOOL,
}


class _Message(msgspec.Struct, gc=False):
    role: str


_ROLE_FIRST = re.compile(rb'\{[ \t\n\r]*"role"[ \t\n\r]*:[ \t\n\r]*"([a-z]+)"')
"""How most clients begin a message; matching it saves a pass over the message's bytes."""

_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGE = msgspec.json.Decoder(_Message)
_COUNT = msgspec.json.Decoder(int)


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
        limit = document.typed("max_completion_tokens", _COUNT, "an integer or null")
        return msgspec.structs.replace(
            call, prompt=_prompt(call.model or "", document), max_tokens=call.max_tokens if limit is None else limit
        )


def _prompt(model: str, document: Body) -> Prompt:
    has_markers = b'"cache_control"' in document.document
    return Prompt(root=root_arguments(model, document), segments=tuple(_segments(document, has_markers=has_markers)))


def _segments(document: Body, *, has_markers: bool) -> Iterator[Segment]:
    yield from parts.template(document, TEMPLATE_ARGUMENTS, defaults=_DEFAULTS)
    for name in ("tools", "functions"):
        tools = document.raw(name)
        if tools is not None:
            yield from parts.split(SegmentKind.TOOLS, parts.without_cache_control(tools) if has_markers else tools)
    for position, message in enumerate(_messages(document)):
        kind = _KINDS.get(_role(message, position), SegmentKind.OTHER)
        raw = memoryview(message)
        yield from parts.split(kind, parts.without_cache_control(raw) if has_markers else raw)


def _messages(document: Body) -> list[msgspec.Raw]:
    messages = document.typed("messages", _MESSAGES, "a list of messages")
    if messages is None:
        raise document.fault("messages", "is missing")
    if not messages:
        raise document.fault("messages", "must not be empty")
    if len(messages) > MAX_MESSAGES:
        raise document.fault("messages", f"must not hold more than {MAX_MESSAGES} messages")
    return messages


def _role(message: msgspec.Raw, position: int) -> str:
    if first := _ROLE_FIRST.match(message):
        return first[1].decode()
    try:
        return _MESSAGE.decode(message).role
    except msgspec.ValidationError:
        is_object = bytes(memoryview(message)[:1]) == b"{"
        param, expected = (f"messages[{position}].role", "a string") if is_object else (f"messages[{position}]", "an object")
        raise ClientFault(f"`{param}` must be {expected}", param=param) from None
