"""`/v1/responses`: instructions, tools and input items to a prompt, and the state that a call continues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from turnwise.dialects import arguments, hints, markers, shapes, turns
from turnwise.dialects.assistant import hear_responses
from turnwise.dialects.body import Body
from turnwise.dialects.conversation import ConversationDialect
from turnwise.dialects.frame import Frame
from turnwise.dialects.prompt import Arguments, Parts
from turnwise.dialects.responses_tap import ResponsesTap
from turnwise.dialects.splice import asks_report
from turnwise.dialects.usage_filter import NeverSpliced
from turnwise.errors import ClientFault, TurnwiseError
from turnwise.types import DialectName, Raw, SegmentKind

CONTINUES = ("previous_response_id", "conversation")
"""What names state that a replica keeps. It stands in the root of the prompt: the text before the new items is not known
here, so such a prompt must never be taken for a fresh one that begins with the same items."""

TEMPLATE_ARGUMENTS = Arguments(
    "chat_template",
    "chat_template_kwargs",
    "reasoning",
    "tool_choice",
    "truncation",
    "context_management",
    "prompt",
    "previous_input_messages",
    defaults=(("tool_choice", b'"auto"'), ("truncation", b'"disabled"')),
)
"""What changes the rendering, in a fixed order."""

LEAVES_ALONE = frozenset(
    (
        "background", "client_metadata", "enable_response_messages", "include", "max_output_tokens", "max_tool_calls",
        "moderation", "text",
    )
)  # fmt: skip
"""What this API has besides that never reaches the text of a prompt. `text` is among it: unlike chat's `response_format`,
vLLM only guides decoding with `text.format` and hands it to no renderer."""

HASHED = frozenset(("model", *arguments.ROOT.names, *CONTINUES, *TEMPLATE_ARGUMENTS.names, "tools", "instructions", "input"))
"""Members that are part of the prompt's digests."""

_KNOWN = HASHED | LEAVES_ALONE | arguments.NOT_RENDERED
_ROOT = Arguments(*arguments.ROOT.names, *CONTINUES)


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    role: str | None = None


class _Conversation(msgspec.Struct, gc=False):
    id: str


class _Result(msgspec.Struct, gc=False):
    call_id: Any = None


_ITEM = msgspec.json.Decoder(_Item)
_RESULT = msgspec.json.Decoder(_Result)
_TEXT = msgspec.json.Decoder(str)
_CONVERSATION = msgspec.json.Decoder(str | _Conversation)


class ResponsesDialect(ConversationDialect, NeverSpliced):
    """OpenAI's responses. Usage always comes, so no body is ever spliced."""

    name = DialectName.RESPONSES

    def __init__(self) -> None:
        super().__init__("input", "items")

    def frame(self, body: Body, *, splice_usage: bool) -> Frame:  # noqa: ARG002 - nothing is ever spliced in here
        """What a body says beside its input: `model`, `stream`, the ids of state, `store` and the token limit are checked."""
        model = arguments.model(body)
        parts = Parts()
        marks = markers.find(body.document)
        template = TEMPLATE_ARGUMENTS.template(body)
        if template:
            parts.add(SegmentKind.TEMPLATE, template)
        parts.add_unmarked(SegmentKind.TOOLS, body.raw("tools"), marks)
        parts.add_unmarked(SegmentKind.SYSTEM, body.raw("instructions"), marks)
        return Frame(
            model,
            b"responses/" + _ROOT.root(model, body),
            parts.kinds,
            parts.raws,
            is_stream=arguments.flag(body, "stream") is True,
            max_tokens=arguments.count(body, "max_output_tokens"),
            unhashed_bytes=arguments.unhashed_bytes(body, _KNOWN),
            asks_report=asks_report(body),
            hints=hints.of_frame(body, parts.marks),
            continues=tuple(_continues(body)),
            is_stored=arguments.flag(body, "store") is not False,
        )

    def results(self, turn: Raw) -> tuple[Any, ...]:
        """The id of the call whose output an item is."""
        return (_RESULT.decode(turn).call_id,)

    hear = staticmethod(hear_responses)

    def kinds(self, raws: Sequence[Raw], heads: Sequence[bytes]) -> list[SegmentKind]:  # noqa: ARG002 - items name two members
        """What each item is by its type and role."""
        try:
            return [_kind(item) for item in map(_ITEM.decode, raws)]
        except msgspec.MsgspecError:
            return [_kind(_item(raw, position)) for position, raw in enumerate(raws)]

    def turns_in_full(self, body: Body) -> tuple[list[SegmentKind], list[Raw]]:
        """The items; a bare text is one that the user says."""
        text = body.raw("input")
        if text is not None and bytes(memoryview(text)[:1]) == b'"':
            return [SegmentKind.USER], [text]
        return super().turns_in_full(body)

    def tap(self, *, wants_answer: bool = False) -> ResponsesTap:
        """A tap for one answer; see `Dialect.tap`."""
        return ResponsesTap(wants_answer=wants_answer)

    def error(self, fault: TurnwiseError) -> bytes:
        """JSON body of an error answer."""
        return shapes.openai_error(fault)

    def error_event(self, fault: TurnwiseError) -> bytes:
        """Event that tells of a failure within a stream."""
        return shapes.responses_event(fault)


def _continues(document: Body) -> Iterator[str]:
    previous = document.typed("previous_response_id", _TEXT, "a string or null")
    if previous is not None:
        yield previous
    conversation = document.typed("conversation", _CONVERSATION, "a string, an object with an id, or null")
    if conversation is not None:
        yield conversation if isinstance(conversation, str) else conversation.id


def _item(raw: Raw, position: int) -> _Item:
    try:
        return _ITEM.decode(raw)
    except msgspec.MsgspecError:
        is_object = bytes(memoryview(raw)[:1]) == b"{"
        problem = "must name its type and role as strings" if is_object else "must be an object"
        param = f"input[{position}]"
        raise ClientFault(f"`{param}` {problem}", param=param) from None


def _kind(item: _Item) -> SegmentKind:
    """What an item is: a message by its role; else what the model made (calls, reasoning) or what a tool gave back."""
    if item.type is None or item.type == "message":
        return turns.KINDS.get(item.role or "", SegmentKind.OTHER)
    if item.type == "reasoning" or item.type.endswith("_call"):
        return SegmentKind.ASSISTANT
    return SegmentKind.TOOL if item.type.endswith("_call_output") else SegmentKind.OTHER
