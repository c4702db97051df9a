"""Whether a prompt may hold what tools or other places brought; only what is known to be plain is taken for plain."""

from __future__ import annotations

from typing import Any

import msgspec

from turnwise.dialects.answer import UNREADABLE
from turnwise.types import DialectName, Prompt, Request, SegmentKind

PLAIN_MEMBERS = frozenset(
    (
        "add_generation_prompt", "add_special_tokens", "chat_template", "chat_template_kwargs", "context_management",
        "continue_final_message", "output_config", "reasoning", "reasoning_effort", "response_format", "thinking",
        "tool_choice", "truncate_prompt_tokens", "truncation", "truncation_side", "verbosity",
    )
)  # fmt: skip
"""What templates are told that brings no text from elsewhere, as documents, containers and stored prompts do."""

PLAIN_TOOLS = frozenset((None, "function", "custom"))
"""Types of tools that the agent runs; one that the replica runs may answer in the midst of the model's words."""

PLAIN_TURNS = frozenset((None, "message", "reasoning", "function_call", "custom_tool_call"))
"""Types of messages and items that hold all that they bring, and no result."""

PLAIN_BLOCKS = frozenset(
    (
        "text", "input_text", "output_text", "reasoning_text", "summary_text", "refusal", "thinking", "redacted_thinking",
        "tool_use", "input_audio",
    )
)  # fmt: skip
"""Types of blocks that hold all that they bring, and no result."""

_PLAIN_SOURCES = frozenset(("base64", "text"))
_IN_PLACE = "data:"


class _Source(msgspec.Struct, gc=False):
    type: str | None = None


class _Url(msgspec.Struct, gc=False):
    url: str


class _Block(msgspec.Struct, gc=False):
    type: str
    source: _Source | None = None
    image_url: str | _Url | None = None


_Content = str | list[str | _Block] | None


class _Turn(msgspec.Struct, gc=False):
    role: str | None = None
    type: str | None = None
    content: _Content = None


class _Tool(msgspec.Struct, gc=False):
    type: str | None = None


class _Body(msgspec.Struct, gc=False):
    messages: list[_Turn] = []
    input: str | list[_Turn] = ""
    system: _Content = None
    tools: list[_Tool] | None = None


_BODY = msgspec.json.Decoder(_Body)
_MEMBERS = msgspec.json.Decoder(dict[str, Any])


def is_tainted(request: Request) -> bool:
    """Whether the prompt holds results of tools, or may: what a replica keeps or fetches is not known here.

    Most prompts of agents say so by a turn of a tool's; only one without is read, a millisecond for a megabyte.
    """
    prompt = request.prompt
    if prompt is None or request.continues or request.unhashed_bytes:
        return True
    if SegmentKind.TOOL in prompt.kinds or SegmentKind.OTHER in prompt.kinds:
        return True
    try:
        return not (_is_template_plain(prompt) and _is_body_plain(_BODY.decode(request.body), request.dialect))
    except UNREADABLE:
        return True


def _is_template_plain(prompt: Prompt) -> bool:
    told = bytearray()
    for kind, raw in zip(prompt.kinds, prompt.raws, strict=True):
        if kind is not SegmentKind.TEMPLATE:
            break
        told += raw
    return all(name in PLAIN_MEMBERS or value is None for name, value in _MEMBERS.decode(b"{%b}" % bytes(told)).items())


def _is_body_plain(body: _Body, dialect: DialectName) -> bool:
    items = body.messages if isinstance(body.input, str) else body.input
    return (
        all(tool.type in PLAIN_TOOLS for tool in body.tools or ())
        and _is_content_plain(body.system)
        and all(_is_turn_plain(turn, dialect) for turn in items)
    )


def _is_turn_plain(turn: _Turn, dialect: DialectName) -> bool:
    if turn.type not in PLAIN_TURNS:
        return False
    if turn.content is None and turn.type in (None, "message"):  # a name of what the replica keeps, or calls and nothing else
        return turn.role == "assistant" and dialect is not DialectName.RESPONSES
    return _is_content_plain(turn.content)


def _is_content_plain(content: _Content) -> bool:
    return content is None or isinstance(content, str) or all(isinstance(block, str) or _is_plain(block) for block in content)


def _is_plain(block: _Block) -> bool:
    """Whether a block holds all that it brings; a picture or document does where it stands in place."""
    if block.type in ("image", "document"):
        return block.source is not None and block.source.type in _PLAIN_SOURCES
    if block.type in ("image_url", "input_image"):
        url = block.image_url.url if isinstance(block.image_url, _Url) else block.image_url
        return url is not None and url.startswith(_IN_PLACE)
    return block.type in PLAIN_BLOCKS
