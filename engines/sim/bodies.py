"""Request bodies as vLLM's API takes them, and what is wrong with those that it would refuse.

Fields that the engine has no use for are ignored, as vLLM does; null means absent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

JsonObject = dict[str, Any]
Body = TypeVar("Body")
TokenId = Annotated[int, Meta(ge=0, lt=2**32)]
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)


class SimFault(Exception):
    """A request that the engine refuses: HTTP status, message, and the field at fault."""

    def __init__(self, status: int, message: str, *, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param

    def openai_body(self) -> bytes:
        """The error as vLLM words it in JSON."""
        error = {"message": str(self), "type": self.kind, "param": self.param, "code": self.status}
        return msgspec.json.encode({"error": error})

    def anthropic_body(self) -> bytes:
        """The error as Anthropic's clients know it."""
        kind = "not_found_error" if self.status == 404 else "invalid_request_error"
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": str(self)}})


class TextPart(msgspec.Struct, frozen=True):
    """One part of a message; this engine reads text only."""

    type: Literal["text", "input_text"]
    text: str


class CalledFunction(msgspec.Struct, frozen=True):
    """Name and JSON arguments, verbatim."""

    name: str
    arguments: str = "{}"


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the assistant made in an earlier turn."""

    function: CalledFunction
    id: str = ""


class Message(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[TextPart, ...] | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    @property
    def text(self) -> str:
        """All text of the message; parts are joined by line ends."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content)


class StreamOptions(msgspec.Struct, frozen=True):
    """Whether a last chunk without choices tells usage."""

    include_usage: bool | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and completions have in common."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    ignore_eos: bool | None = None
    stop: str | tuple[str, ...] | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: int | None = None
    priority: int | None = None
    cache_salt: Annotated[str, Meta(min_length=1)] | None = None
    session_id: str | None = None
    vllm_xargs: JsonObject | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop texts."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else self.stop

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)


class FunctionName(msgspec.Struct, frozen=True):
    """A function chosen by name."""

    name: str


class NamedTool(msgspec.Struct, frozen=True):
    """`tool_choice` that names a function."""

    function: FunctionName


class ChatBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: tuple[Message, ...]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    tools: tuple[JsonObject, ...] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None


class CompletionBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | tuple[str | TokenId | tuple[TokenId, ...], ...] | None


class TokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /tokenize`: a prompt or a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    tools: tuple[JsonObject, ...] | None = None


class DetokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /detokenize`."""

    tokens: tuple[TokenId, ...]
    model: str | None = None


class ToolFunction(msgspec.Struct, frozen=True):
    """The part of a tool that an answer needs."""

    name: Annotated[str, Meta(min_length=1)]
    parameters: JsonObject | None = None


class _ToolShape(msgspec.Struct, frozen=True):
    function: ToolFunction
    type: Literal["function"] = "function"


def read(body: bytes, kind: type[Body]) -> Body:
    """Decode a body; raises `SimFault` 400 naming the field at fault."""
    try:
        body.decode()  # msgspec does not look into what it skips
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        found = _AT.match(str(error))
        path = found["path"] if found else None
        raise SimFault(400, str(error), param=path or _missing_field(str(error))) from error


def read_tools(tools: Sequence[JsonObject] | None) -> tuple[ToolFunction, ...]:
    """The functions of a tool catalogue; raises `SimFault` 400."""
    try:
        return tuple(shape.function for shape in msgspec.convert(list(tools or ()), list[_ToolShape]))
    except msgspec.ValidationError as error:
        raise SimFault(400, str(error), param="tools") from error


def check_messages(messages: Sequence[Message]) -> None:
    """Raise `SimFault` 400 where a conversation cannot be rendered."""
    if not messages:
        raise SimFault(400, "messages must not be empty", param="messages")
    called: set[str] = set()
    for index, message in enumerate(messages):
        called.update(call.id for call in message.tool_calls or ())
        if message.role == "tool" and message.tool_call_id not in called:
            raise SimFault(
                400, f"tool message answers no call: {message.tool_call_id!r}", param=f"messages[{index}].tool_call_id"
            )


def _missing_field(message: str) -> str | None:
    found = re.match(r"Object missing required field `([^`]+)`", message)
    return found[1] if found else None
