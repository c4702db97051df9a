"""The inference endpoints of every API that the engine speaks."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from functools import partial

import msgspec

from turnwise.engines.sim import messages_body, responses_body
from turnwise.engines.sim.answers import CallHead, Json
from turnwise.engines.sim.bodies import (
    CalledFunction,
    ChatBody,
    CompletionBody,
    DetokenizeBody,
    JsonObject,
    Message,
    SimFault,
    TokenizeBody,
    ToolCall,
    check_messages,
    read,
    read_tools,
)
from turnwise.engines.sim.core import EngineCore
from turnwise.engines.sim.cost import Preset
from turnwise.engines.sim.embeddings import EmbeddingBody, embed
from turnwise.engines.sim.generate import Generator
from turnwise.engines.sim.messages_answers import MessagesWriter
from turnwise.engines.sim.messages_body import CountBody, MessagesBody
from turnwise.engines.sim.openai_answers import OpenAIWriter
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.prepare import Prepared, Preparer
from turnwise.engines.sim.responses_answers import ResponsesWriter
from turnwise.engines.sim.responses_body import ResponsesBody
from turnwise.engines.sim.script import Script
from turnwise.engines.sim.store import ResponseStore, StoredResponse
from turnwise.engines.sim.template import render_chat
from turnwise.engines.sim.tokens import decode, encode, encode_to_show

Headers = tuple[tuple[str, str], ...]

JSON: Headers = (("content-type", "application/json"),)
EVENTS: Headers = (("content-type", "text/event-stream; charset=utf-8"),)


class SimAnswer(msgspec.Struct, frozen=True):
    """An HTTP answer; a streamed body aborts its call when the generator is closed."""

    status: int
    headers: Headers
    body: bytes | AsyncGenerator[bytes, None]


def json_answer(status: int, value: object) -> SimAnswer:
    """An answer in JSON."""
    return SimAnswer(status, JSON, msgspec.json.encode(value))


class Calls:
    """Answers the inference calls of one engine; every method raises `SimFault` for what it refuses."""

    def __init__(
        self, options: SimOptions, preset: Preset, core: EngineCore, clock: Callable[[], float], numbers: Iterator[int]
    ) -> None:
        self._options = options
        self._preset = preset
        self._clock = clock
        self._template = options.chat_template
        self._preparer = Preparer(options, preset, clock, numbers)
        self._generator = Generator(core, reports_cached_tokens=options.reports_cached_tokens)
        self._store = ResponseStore()

    async def chat(self, body: bytes, headers: Mapping[str, str]) -> SimAnswer:
        """`POST /v1/chat/completions`."""
        call = read(body, ChatBody)
        self._check_model(call.model)
        write = partial(OpenAIWriter, is_chat=True, wants_usage=call.wants_usage_chunk)
        return await self._answer(self._preparer.chat(call, headers, write), is_stream=bool(call.stream))

    async def completion(self, body: bytes, headers: Mapping[str, str]) -> SimAnswer:
        """`POST /v1/completions`."""
        call = read(body, CompletionBody)
        self._check_model(call.model)
        write = partial(OpenAIWriter, is_chat=False, wants_usage=call.wants_usage_chunk)
        return await self._answer(self._preparer.completion(call, headers, write), is_stream=bool(call.stream))

    async def messages(self, body: bytes, headers: Mapping[str, str]) -> SimAnswer:
        """`POST /v1/messages`."""
        call = read(body, MessagesBody)
        self._check_model(call.model)
        prepared = self._preparer.chat(messages_body.chat_call(call), headers, MessagesWriter)
        return await self._answer(prepared, is_stream=bool(call.stream))

    async def count_tokens(self, body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        """`POST /v1/messages/count_tokens`."""
        call = read(body, CountBody)
        self._check_model(call.model)
        count = len(self._conversation_tokens(messages_body.chat_messages(call), messages_body.chat_tools(call)))
        return json_answer(200, {"input_tokens": count, "context_management": {"original_input_tokens": count}})

    async def responses(self, body: bytes, headers: Mapping[str, str]) -> SimAnswer:
        """`POST /v1/responses`."""
        call = read(body, ResponsesBody)
        self._check_model(call.model)
        for name in ("conversation", "background"):
            if getattr(call, name):
                raise SimFault(400, f"this engine does not support `{name}`", param=name)
        earlier: tuple[Message, ...] = ()
        if call.previous_response_id:
            earlier = self._store.get(call.previous_response_id, param="previous_response_id").messages
        asked = responses_body.chat_call(call, earlier)

        def keep(answer: Json, script: Script) -> None:
            if call.is_stored:
                said = Message(
                    role="assistant",
                    content=script.text or None,
                    tool_calls=_tool_calls(answer),
                    reasoning=script.reasoning or None,
                )
                self._store.put(StoredResponse(answer, (*responses_body.remembered(asked.messages), said)))

        def write(head: CallHead) -> ResponsesWriter:
            return ResponsesWriter(head, call, keep)

        return await self._answer(self._preparer.chat(asked, headers, write), is_stream=bool(call.stream))

    async def retrieve_response(self, response_id: str) -> SimAnswer:
        """`GET /v1/responses/{id}`."""
        return json_answer(200, self._store.get(response_id).answer)

    async def cancel_response(self, response_id: str) -> SimAnswer:
        """`POST /v1/responses/{id}/cancel`: what is stored has ended, so there is nothing left to cancel."""
        self._store.get(response_id)
        raise SimFault(400, "Cannot cancel a synchronous response.", param="response_id")

    async def embeddings(self, body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        """`POST /v1/embeddings`."""
        call = read(body, EmbeddingBody)
        self._check_model(call.model)
        return json_answer(200, embed(call, call.model or self._options.model, int(self._clock())))

    async def tokenize(self, body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        """`POST /tokenize`."""
        call = read(body, TokenizeBody)
        self._check_model(call.model)
        if call.messages is not None:
            tokens = self._conversation_tokens(call.messages, call.tools or ())
        elif call.prompt is not None:
            tokens = encode_to_show(call.prompt)
        else:
            raise SimFault(400, "either prompt or messages is needed", param="prompt")
        answer = {"count": len(tokens), "max_model_len": self._preset.max_model_len, "tokens": tokens.tolist()}
        return json_answer(200, answer)

    async def detokenize(self, body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        """`POST /detokenize`."""
        call = read(body, DetokenizeBody)
        self._check_model(call.model)
        return json_answer(200, {"prompt": decode(call.tokens)})

    def _conversation_tokens(self, messages: Sequence[Message], tools: Sequence[JsonObject]) -> array[int]:
        check_messages(messages)
        read_tools(tools)
        return encode(render_chat(messages, tools, self._template, self._clock()))

    def _check_model(self, model: str | None) -> None:
        if model is not None and model not in (self._options.model, *self._options.loras):
            raise SimFault(404, f"The model `{model}` does not exist.", kind="NotFoundError", param="model")

    async def _answer(self, prepared: Prepared, *, is_stream: bool) -> SimAnswer:
        if is_stream:
            return SimAnswer(200, EVENTS, self._generator.stream(prepared))
        return SimAnswer(200, JSON, await self._generator.whole(prepared))


def _tool_calls(answer: Json) -> tuple[ToolCall, ...] | None:
    calls = [item for item in answer["output"] if item["type"] == "function_call"]
    return tuple(ToolCall(CalledFunction(item["name"], item["arguments"]), item["call_id"]) for item in calls) or None
