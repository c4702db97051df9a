"""`/v1/messages`: system, tools and messages to a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from turnwise.dialects import arguments, shapes, turns
from turnwise.dialects import prompt as parts
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.messages_tap import MessagesTap
from turnwise.dialects.usage_filter import Unfiltered
from turnwise.errors import ClientFault, TurnwiseError
from turnwise.types import DialectName, Headers, Prompt, Segment, SegmentKind

TEMPLATE_ARGUMENTS = (
    "chat_template_kwargs",
    "thinking",
    "output_config",
    "tool_choice",
    "context_management",
    "container",
    "mcp_servers",
)
"""What changes the rendering, in a fixed order: effort and thinking reach the template, `tool_choice` can take the tools out,
`context_management` drops old thinking and tool results, containers and MCP servers bring tools."""

LEAVES_ALONE = frozenset(("inference_geo", "speed", "stop_sequences"))
"""What this API has besides that never reaches the text of a prompt."""

HASHED = frozenset(("model", *arguments.ROOT, *TEMPLATE_ARGUMENTS, "tools", "system", "messages"))
"""Members that are part of the prompt's digests."""

THREAD_UNSUPPORTED = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
"""What tells the SDK to send the whole conversation without a thread; without it, it raises."""

_KNOWN = HASHED | LEAVES_ALONE
_DEFAULTS = (("tool_choice", b'{"type":"auto"}'), ("tool_choice", b'{"type": "auto"}'))
_TOOL_RESULT = re.compile(rb'"tool_result"')


class _Block(msgspec.Struct, gc=False):
    type: str


class _Blocks(msgspec.Struct, gc=False):
    content: list[_Block]


_BLOCKS = msgspec.json.Decoder(_Blocks)


class MessagesDialect:
    """Anthropic's messages. Usage always comes, so no body is ever spliced."""

    name = DialectName.MESSAGES

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read a messages request; raises `ClientFault` naming the field that is wrong.

        A message thread is refused in the way that its SDK understands: its later requests hold new messages only, and an
        engine that ignores `thread` would answer them without their history.
        """
        document = Body(body)
        if document.raw("thread") is not None:
            raise ClientFault("message threads are not kept here", param="thread", details=THREAD_UNSUPPORTED)
        model = arguments.model(document)
        root = b"messages/" + parts.root(model, document, arguments.ROOT)
        return ReadCall(
            body=body,
            model=model,
            prompt=Prompt(root=root, segments=tuple(_segments(document))),
            is_stream=arguments.flag(document, "stream") is True,
            max_tokens=arguments.count(document, "max_tokens"),
            unhashed_bytes=arguments.unhashed_bytes(document, _KNOWN),
        )

    def tap(self) -> MessagesTap:
        """A tap for one answer."""
        return MessagesTap()

    def usage_filter(self) -> Unfiltered:
        """A filter that drops nothing."""
        return Unfiltered()

    def error(self, fault: TurnwiseError) -> bytes:
        """JSON body of an error answer."""
        return shapes.anthropic_error(fault)

    def error_event(self, fault: TurnwiseError) -> bytes:
        """Event that tells of a failure within a stream."""
        return shapes.anthropic_event(fault)


def _segments(document: Body) -> Iterator[Segment]:
    is_marked = parts.has_markers(document)
    yield from parts.template(document, TEMPLATE_ARGUMENTS, defaults=_DEFAULTS)
    yield from parts.unmarked(SegmentKind.TOOLS, document.raw("tools"), is_marked=is_marked)
    yield from parts.unmarked(SegmentKind.SYSTEM, document.raw("system"), is_marked=is_marked)
    for position, message in enumerate(turns.read(document, "messages", "messages")):
        yield from parts.unmarked(_kind(message, position), memoryview(message), is_marked=is_marked)


def _kind(message: msgspec.Raw, position: int) -> SegmentKind:
    kind = turns.KINDS.get(turns.role(message, position), SegmentKind.OTHER)
    return SegmentKind.TOOL if kind is SegmentKind.USER and _is_tool_results(message) else kind


def _is_tool_results(message: msgspec.Raw) -> bool:
    """Whether a message brings results of tools and no word of the user's."""
    if _TOOL_RESULT.search(message) is None:
        return False
    try:
        blocks = _BLOCKS.decode(message).content
    except msgspec.MsgspecError:
        return False
    return all(block.type == "tool_result" for block in blocks)
