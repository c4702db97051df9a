"""`/v1/messages`: system, tools and messages to a prompt."""

from __future__ import annotations

import re

import msgspec

from turnwise.dialects import arguments, markers, shapes, turns
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.messages_tap import MessagesTap
from turnwise.dialects.prompt import Arguments, Parts
from turnwise.dialects.usage_filter import Unfiltered
from turnwise.errors import ClientFault, TurnwiseError
from turnwise.types import DialectName, Headers, Prompt, Raw, SegmentKind

TEMPLATE_ARGUMENTS = Arguments(
    "chat_template_kwargs",
    "thinking",
    "output_config",
    "tool_choice",
    "context_management",
    "container",
    "mcp_servers",
    defaults=(("tool_choice", b'{"type":"auto"}'), ("tool_choice", b'{"type": "auto"}')),
)
"""What changes the rendering, in a fixed order: effort and thinking reach the template, `tool_choice` can take the tools out,
`context_management` drops old thinking and tool results, containers and MCP servers bring tools."""

LEAVES_ALONE = frozenset(("inference_geo", "speed", "stop_sequences"))
"""What this API has besides that never reaches the text of a prompt."""

HASHED = frozenset(("model", *arguments.ROOT.names, *TEMPLATE_ARGUMENTS.names, "tools", "system", "messages"))
"""Members that are part of the prompt's digests."""

THREAD_UNSUPPORTED = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
"""What tells the SDK to send the whole conversation without a thread; without it, it raises."""

_KNOWN = HASHED | LEAVES_ALONE | arguments.NOT_RENDERED
_MESSAGES = turns.TurnList("messages", "messages")
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
        document = _MESSAGES.open(body)
        if document.raw("thread") is not None:
            raise ClientFault("message threads are not kept here", param="thread", details=THREAD_UNSUPPORTED)
        model = arguments.model(document)
        return ReadCall(
            body,
            model,
            _prompt(model, document),
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


def _prompt(model: str, document: Body) -> Prompt:
    parts = Parts()
    marks = markers.find(document.document)
    template = TEMPLATE_ARGUMENTS.template(document)
    if template:
        parts.add(SegmentKind.TEMPLATE, template)
    parts.add_unmarked(SegmentKind.TOOLS, document.raw("tools"), marks)
    parts.add_unmarked(SegmentKind.SYSTEM, document.raw("system"), marks)
    messages = _MESSAGES.read(document)
    kinds = [
        SegmentKind.TOOL if kind is SegmentKind.USER and _is_tool_results(message) else kind
        for kind, message in zip(turns.kinds(messages, document), messages, strict=True)
    ]
    parts.add_turns(kinds, turns.unmarked(document, messages, marks))
    return parts.prompt(b"messages/" + arguments.ROOT.root(model, document))


def _is_tool_results(message: Raw) -> bool:
    """Whether a message brings results of tools and no word of the user's."""
    if _TOOL_RESULT.search(message) is None:
        return False
    try:
        blocks = _BLOCKS.decode(message).content
    except msgspec.MsgspecError:
        return False
    return all(block.type == "tool_result" for block in blocks)
