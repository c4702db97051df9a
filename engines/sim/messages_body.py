"""`POST /v1/messages` and its `count_tokens`: Anthropic's bodies, read and turned into a chat call, as vLLM does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from turnwise.engines.sim.bodies import (
    CalledFunction,
    ChatBody,
    FunctionName,
    JsonObject,
    Message,
    NamedTool,
    SimFault,
    TextPart,
    ToolCall,
)

BILLING_LINE = "x-anthropic-billing-header"
"""A system text with this prefix differs in every call of one client; vLLM leaves it out of the prompt, and so does this."""


class Block(msgspec.Struct, frozen=True):
    """One content block; which fields count depends on `type`."""

    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: JsonObject | None = None
    tool_use_id: str = ""
    content: str | tuple[JsonObject, ...] | None = None
    thinking: str = ""


class Turn(msgspec.Struct, frozen=True):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | tuple[Block, ...]


class Tool(msgspec.Struct, frozen=True):
    """One tool."""

    name: Annotated[str, Meta(min_length=1)]
    input_schema: JsonObject
    description: str | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether tools are called; `name` is needed with `tool`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str = ""


class CountBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/messages/count_tokens`, and all that a prompt is made of."""

    model: Annotated[str, Meta(min_length=1)]
    messages: tuple[Turn, ...]
    system: str | tuple[Block, ...] | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: ToolChoice | None = None


class MessagesBody(CountBody, frozen=True, kw_only=True):
    """`POST /v1/messages`. Thinking is accepted; whether it happens is an option of the engine."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None
    stop_sequences: tuple[str, ...] | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    cache_salt: Annotated[str, Meta(min_length=1)] | None = None
    vllm_xargs: JsonObject | None = None


def chat_messages(body: CountBody) -> tuple[Message, ...]:
    """The conversation as chat would have it; raises `SimFault` for what is no text."""
    messages: list[Message] = []
    system = _system_text(body.system)
    if system:
        messages.append(Message(role="system", content=system))
    for index, turn in enumerate(body.messages):
        messages += _converted(turn, f"messages[{index}].content")
    return tuple(messages)


def chat_tools(body: CountBody) -> tuple[JsonObject, ...]:
    """The tools as chat would have them."""
    return tuple(
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": {"type": "object", **tool.input_schema} if "type" not in tool.input_schema else tool.input_schema,
                "strict": tool.strict,
            },
        }
        for tool in body.tools or ()
    )


def chat_call(body: MessagesBody) -> ChatBody:
    """The whole call as chat would have it; raises `SimFault`."""
    return ChatBody(
        model=body.model,
        messages=chat_messages(body),
        max_tokens=body.max_tokens,
        stop=body.stop_sequences,
        temperature=body.temperature,
        top_p=body.top_p,
        cache_salt=body.cache_salt,
        vllm_xargs=body.vllm_xargs,
        tools=chat_tools(body),
        tool_choice=_tool_choice(body.tool_choice),
    )


def _tool_choice(choice: ToolChoice | None) -> Literal["none", "auto", "required"] | NamedTool | None:
    if choice is None:
        return None
    if choice.type == "tool":
        if not choice.name:
            raise SimFault(400, "tool_choice.name is required when type is 'tool'", param="tool_choice")
        return NamedTool(FunctionName(choice.name))
    return "required" if choice.type == "any" else choice.type


def _system_text(system: str | Sequence[Block] | None) -> str:
    if system is None or isinstance(system, str):
        return system or ""
    return "".join(block.text for block in system if not block.text.startswith(BILLING_LINE))


def _converted(turn: Turn, path: str) -> Iterator[Message]:
    """A message as chat has it; tool results are messages of their own and come first."""
    if turn.role == "system":
        yield Message(role="system", content=_system_text(turn.content))
        return
    if isinstance(turn.content, str):
        yield Message(role=turn.role, content=turn.content)
        return
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for index, block in enumerate(turn.content):
        if block.type == "text":
            texts.append(block.text)
        elif block.type == "thinking":
            thoughts.append(block.thinking)
        elif block.type == "tool_use":
            arguments = msgspec.json.encode(block.input or {}).decode()
            calls.append(ToolCall(CalledFunction(block.name, arguments), block.id))
        elif block.type == "tool_result" and turn.role == "user":
            content = _result_text(block.content, f"{path}[{index}].content")
            yield Message(role="tool", content=content, tool_call_id=block.tool_use_id)
        elif block.type != "redacted_thinking":
            raise SimFault(400, f"this engine reads no {block.type} block here", param=f"{path}[{index}].type")
    if texts or calls or thoughts:
        parts = tuple(TextPart("text", text) for text in texts if text)
        yield Message(
            role=turn.role, content=parts or None, tool_calls=tuple(calls) or None, reasoning="".join(thoughts) or None
        )


def _result_text(content: str | Sequence[JsonObject] | None, path: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[Any] = [part.get("text") for part in content if part.get("type") == "text"]
    if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
        raise SimFault(400, "this engine reads tool results of text only", param=path)
    return "\n".join(texts)
