"""`/v1/responses`: instructions, tools and input items to a prompt, and the state that a call continues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from turnwise.dialects import arguments, markers, shapes, turns
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.prompt import Arguments, Parts
from turnwise.dialects.responses_tap import ResponsesTap
from turnwise.dialects.usage_filter import Unfiltered
from turnwise.errors import ClientFault, TurnwiseError
from turnwise.types import DialectName, Headers, Prompt, Raw, SegmentKind

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
_INPUT = turns.TurnList("input", "items")


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    role: str | None = None


class _Conversation(msgspec.Struct, gc=False):
    id: str


_ITEM = msgspec.json.Decoder(_Item)
_ITEMS = msgspec.json.Decoder(list[_Item])
_TEXT = msgspec.json.Decoder(str)
_CONVERSATION = msgspec.json.Decoder(str | _Conversation)


class ResponsesDialect:
    """OpenAI's responses. Usage always comes, so no body is ever spliced."""

    name = DialectName.RESPONSES

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read a responses request; raises `ClientFault` naming the field that is wrong.

        Checked is what routing acts on: `model`, `input` (text or objects), the ids of state, `store` and the token limit.
        """
        document = _INPUT.open(body)
        model = arguments.model(document)
        return ReadCall(
            body,
            model,
            _prompt(model, document),
            is_stream=arguments.flag(document, "stream") is True,
            max_tokens=arguments.count(document, "max_output_tokens"),
            continues=tuple(_continues(document)),
            is_stored=arguments.flag(document, "store") is not False,
            unhashed_bytes=arguments.unhashed_bytes(document, _KNOWN),
        )

    def tap(self) -> ResponsesTap:
        """A tap for one answer."""
        return ResponsesTap()

    def usage_filter(self) -> Unfiltered:
        """A filter that drops nothing."""
        return Unfiltered()

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


def _prompt(model: str, document: Body) -> Prompt:
    parts = Parts()
    marks = markers.find(document.document)
    template = TEMPLATE_ARGUMENTS.template(document)
    if template:
        parts.add(SegmentKind.TEMPLATE, template)
    parts.add_unmarked(SegmentKind.TOOLS, document.raw("tools"), marks)
    parts.add_unmarked(SegmentKind.SYSTEM, document.raw("instructions"), marks)
    text = document.raw("input")
    if text is not None and bytes(memoryview(text)[:1]) == b'"':
        parts.add(SegmentKind.USER, text)
    else:
        items = _INPUT.read(document)
        parts.add_turns(_kinds(text, items), turns.unmarked(document, items, marks))
    return parts.prompt(b"responses/" + _ROOT.root(model, document))


def _kinds(raw: Raw | None, items: Sequence[Raw]) -> list[SegmentKind]:
    """What each item is; all of them are decoded at once, and one by one where one of them is at fault."""
    try:
        return [_kind(item) for item in _ITEMS.decode(raw or b"")]
    except msgspec.MsgspecError:
        return [_kind(_item(item, position)) for position, item in enumerate(items)]


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
