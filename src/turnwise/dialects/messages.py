"""`/v1/messages`: system, tools and messages to a prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from turnwise.dialects import arguments, hints, markers, shapes, turns
from turnwise.dialects.assistant import hear_messages
from turnwise.dialects.body import Body
from turnwise.dialects.conversation import ConversationDialect
from turnwise.dialects.frame import Frame
from turnwise.dialects.messages_tap import MessagesTap
from turnwise.dialects.prompt import Arguments, Parts
from turnwise.dialects.splice import asks_report
from turnwise.dialects.usage_filter import NeverSpliced
from turnwise.errors import ClientFault, TurnwiseError
from turnwise.types import DialectName, Raw, SegmentKind

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
_TOOL_RESULT = re.compile(rb'"tool_result"')


class _Block(msgspec.Struct, gc=False):
    type: str
    tool_use_id: Any = None


class _Blocks(msgspec.Struct, gc=False):
    content: list[_Block]


_BLOCKS = msgspec.json.Decoder(_Blocks)


class MessagesDialect(ConversationDialect, NeverSpliced):
    """Anthropic's messages. Usage always comes, so no body is ever spliced."""

    name = DialectName.MESSAGES

    def __init__(self) -> None:
        super().__init__("messages", "messages")

    def frame(self, body: Body, *, splice_usage: bool) -> Frame:  # noqa: ARG002 - nothing is ever spliced in here
        """What a body says beside its messages: `model`, `stream` and `max_tokens` are checked.

        A message thread is refused in the way that its SDK understands: its later requests hold new messages only, and an
        engine that ignores `thread` would answer them without their history.
        """
        if body.raw("thread") is not None:
            raise ClientFault("message threads are not kept here", param="thread", details=THREAD_UNSUPPORTED)
        model = arguments.model(body)
        parts = Parts()
        marks = markers.find(body.document)
        template = TEMPLATE_ARGUMENTS.template(body)
        if template:
            parts.add(SegmentKind.TEMPLATE, template)
        parts.add_unmarked(SegmentKind.TOOLS, body.raw("tools"), marks)
        parts.add_unmarked(SegmentKind.SYSTEM, body.raw("system"), marks)
        return Frame(
            model,
            b"messages/" + arguments.ROOT.root(model, body),
            parts.kinds,
            parts.raws,
            is_stream=arguments.flag(body, "stream") is True,
            max_tokens=arguments.count(body, "max_tokens"),
            unhashed_bytes=arguments.unhashed_bytes(body, _KNOWN),
            asks_report=asks_report(body),
            hints=hints.of_frame(body, parts.marks),
        )

    results_in = frozenset((SegmentKind.TOOL, SegmentKind.USER))

    def results(self, turn: Raw) -> list[Any]:
        """The ids of the calls whose results are among the blocks of a user's message."""
        if _TOOL_RESULT.search(turn) is None:
            return []
        return [block.tool_use_id for block in _BLOCKS.decode(turn).content if block.type == "tool_result"]

    hear = staticmethod(hear_messages)

    def kinds(self, raws: Sequence[Raw], heads: Sequence[bytes]) -> list[SegmentKind]:
        """What each message is by its role; one of the user's that only brings results of tools is a tool's."""
        return [
            SegmentKind.TOOL if kind is SegmentKind.USER and _is_tool_results(raw) else kind
            for kind, raw in zip(turns.kinds(raws, heads), raws, strict=True)
        ]

    def tap(self, *, wants_answer: bool = False) -> MessagesTap:
        """A tap for one answer; see `Dialect.tap`."""
        return MessagesTap(wants_answer=wants_answer)

    def error(self, fault: TurnwiseError) -> bytes:
        """JSON body of an error answer."""
        return shapes.anthropic_error(fault)

    def error_event(self, fault: TurnwiseError) -> bytes:
        """Event that tells of a failure within a stream."""
        return shapes.anthropic_event(fault)


def _is_tool_results(message: Raw) -> bool:
    """Whether a message brings results of tools and no word of the user's."""
    if _TOOL_RESULT.search(message) is None:
        return False
    try:
        blocks = _BLOCKS.decode(message).content
    except msgspec.MsgspecError:
        return False
    return all(block.type == "tool_result" for block in blocks)
