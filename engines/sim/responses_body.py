"""`POST /v1/responses`: OpenAI's bodies, read and turned into a chat call, as vLLM does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from turnwise.engines.sim.bodies import (
    CalledFunction,
    ChatBody,
    FunctionName,
    JsonObject,
    Message,
    NamedTool,
    Sampling,
    SimFault,
    TextPart,
    ToolCall,
)

ItemShape = TypeVar("ItemShape")


class ResponsesBody(Sampling, frozen=True, kw_only=True):
    """What the engine reads, and what it only repeats in its answer."""

    input: str | tuple[JsonObject, ...]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    tools: tuple[JsonObject, ...] | None = None
    tool_choice: Literal["none", "auto", "required"] | JsonObject | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None
    store: bool | None = None
    parallel_tool_calls: bool | None = None
    metadata: JsonObject | None = None
    reasoning: JsonObject | None = None
    text: JsonObject | None = None
    user: str | None = None

    @property
    def is_stored(self) -> bool:
        """Whether later calls may continue this one; they may where nothing is said."""
        return self.store is not False


class _Part(msgspec.Struct, frozen=True):
    type: Literal["input_text", "output_text", "text", "refusal", "reasoning_text", "summary_text"]
    text: str = ""
    refusal: str = ""


class _Spoken(msgspec.Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[_Part, ...]


class _Called(msgspec.Struct, frozen=True):
    call_id: str
    name: str
    arguments: str = "{}"
    input: str = ""


class _Returned(msgspec.Struct, frozen=True):
    call_id: str
    output: str | tuple[_Part, ...]


class _Thought(msgspec.Struct, frozen=True):
    content: tuple[_Part, ...] | None = None
    summary: tuple[_Part, ...] = ()


class _FunctionTool(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


def chat_call(body: ResponsesBody, earlier: Sequence[Message]) -> ChatBody:
    """The call as chat would have it, after what was said `earlier`; raises `SimFault`."""
    given = [Message(role="user", content=body.input)] if isinstance(body.input, str) else _merged(_messages(body.input))
    instructions = [Message(role="system", content=body.instructions)] if body.instructions else []
    return ChatBody(
        **{name: getattr(body, name) for name in Sampling.__struct_fields__},
        messages=(*instructions, *earlier, *given),
        max_completion_tokens=body.max_output_tokens,
        tools=_tools(body.tools or ()),
        tool_choice=_tool_choice(body.tool_choice),
    )


def remembered(messages: Sequence[Message]) -> tuple[Message, ...]:
    """What a later call continues: instructions are given anew by each."""
    return tuple(message for message in messages if message.role != "system")


def _tool_choice(choice: str | JsonObject | None) -> Literal["none", "auto", "required"] | NamedTool | None:
    if isinstance(choice, dict):
        return NamedTool(FunctionName(str(choice.get("name")))) if choice.get("type") == "function" else None
    return choice  # type: ignore[return-value]  # the body's type has one of these words


def _tools(tools: Sequence[JsonObject]) -> tuple[JsonObject, ...]:
    """The functions among the tools, as chat would have them; hosted tools are not for an engine to see."""
    functions = [tool for tool in tools if tool.get("type") == "function"]
    read = [_shaped(tool, _FunctionTool, f"tools[{index}]") for index, tool in enumerate(functions)]
    return tuple({"type": "function", "function": msgspec.structs.asdict(tool)} for tool in read)


def _messages(items: Sequence[JsonObject]) -> Iterator[Message]:
    """One message for each item."""
    for index, item in enumerate(items):
        path = f"input[{index}]"
        kind = item.get("type", "message")
        if kind == "message":
            spoken = _shaped(item, _Spoken, path)
            yield Message(role=spoken.role, content=_content(spoken.content))
        elif kind in {"function_call", "custom_tool_call"}:
            called = _shaped(item, _Called, path)
            is_custom = kind == "custom_tool_call"
            arguments = msgspec.json.encode({"input": called.input}).decode() if is_custom else called.arguments
            yield Message(role="assistant", tool_calls=(ToolCall(CalledFunction(called.name, arguments), called.call_id),))
        elif kind in {"function_call_output", "custom_tool_call_output"}:
            returned = _shaped(item, _Returned, path)
            yield Message(role="tool", content=_content(returned.output), tool_call_id=returned.call_id)
        elif kind == "reasoning":
            thought = _shaped(item, _Thought, path)
            yield Message(role="assistant", reasoning="".join(part.text for part in thought.content or thought.summary))
        else:
            raise SimFault(400, f"Unsupported input item type: {kind}", param="input")


def _merged(messages: Iterator[Message]) -> list[Message]:
    """Messages with what the assistant thought, said and called in one turn put together, as chat has them."""
    merged: list[Message] = []
    for message in messages:
        before = merged[-1] if merged else None
        if before is None or before.role != "assistant" or message.role != "assistant":
            merged.append(message)
        elif message.tool_calls:
            merged[-1] = msgspec.structs.replace(before, tool_calls=(*(before.tool_calls or ()), *message.tool_calls))
        elif message.content is not None and before.content is None:
            merged[-1] = msgspec.structs.replace(before, content=message.content)
        else:
            merged.append(message)
    return merged


def _content(content: str | Sequence[_Part]) -> str | tuple[TextPart, ...]:
    if isinstance(content, str):
        return content
    return tuple(TextPart("text", part.text or part.refusal) for part in content)


def _shaped(item: JsonObject, shape: type[ItemShape], path: str) -> ItemShape:
    try:
        return msgspec.convert(item, shape)
    except msgspec.ValidationError as error:
        raise SimFault(400, str(error), param=path) from error
