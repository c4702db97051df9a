"""vLLM's HTTP surface over the embedded engine, independent of any HTTP library.

`SimEngine.handle` takes a request's parts and gives an answer's; a server and an in-memory transport both stand on it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from turnwise.engines.sim.blocks import CacheEvent
from turnwise.engines.sim.bodies import ChatBody, CompletionBody, SimFault, TokenizeBody, check_messages, read
from turnwise.engines.sim.core import EngineCore
from turnwise.engines.sim.exposition import expose
from turnwise.engines.sim.generate import Generator
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.prepare import Prepared, Preparer
from turnwise.engines.sim.publisher import TOPIC, EventLog, InMemoryEventSource
from turnwise.engines.sim.template import render_chat
from turnwise.engines.sim.tokens import encode

VERSION = "0.32.0"
"""The vLLM whose API and events this engine speaks."""
OWNER = "turnwise-sim"

CONTROL_PATHS = frozenset(
    {
        "/abort_requests",
        "/collective_rpc",
        "/finish_weight_update",
        "/inference/v1/abort_requests",
        "/init_weight_transfer_engine",
        "/pause",
        "/release_kv_cache_memory",
        "/reset_encoder_cache",
        "/reset_mm_cache",
        "/resume",
        "/scale_elastic_ep",
        "/shutdown_weight_transfer_engine",
        "/sleep",
        "/start_draft_weight_update",
        "/start_weight_update",
        "/update_weight_version",
        "/update_weights",
        "/wake_up",
    }
)
"""Paths by which a real replica can be stopped or changed; here they only count, so that a test can prove none is reached."""


class SimAnswer(msgspec.Struct, frozen=True):
    """An HTTP answer; a streamed body aborts its call when the generator is closed."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | AsyncGenerator[bytes, None]


class EventEndpoints(msgspec.Struct, frozen=True):
    """ZMQ addresses under which a server publishes this engine's events."""

    events: str
    replay: str


_Handler = Callable[[bytes, Mapping[str, str]], Awaitable[SimAnswer]]


class SimEngine:
    """One embedded engine. Entering it starts its loop; leaving it ends every call under way."""

    def __init__(self, options: SimOptions) -> None:
        self.options = options
        self.preset = options.resolve()
        self.endpoints: EventEndpoints | None = None
        """Set by a server that publishes; `/kv_event_sources` tells of it."""
        self.control_calls = Counter(dict.fromkeys(CONTROL_PATHS, 0))
        """Requests that reached one of `CONTROL_PATHS`."""
        self.log = EventLog(self.preset.block_size, options.loras, options.event_buffer if options.publishes_events else 0)
        self.core = EngineCore(self.preset, speed=options.speed, publish=self._publish)
        self._preparer = Preparer(options, self.preset, self._wall_time)
        self._generator = Generator(self.core)
        self._running: asyncio.Task[None] | None = None
        self._started_at = 0.0
        self._routes: dict[tuple[str, str], _Handler] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._completion,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/reset_prefix_cache"): self._reset_prefix_cache,
            ("GET", "/v1/models"): self._models,
            ("GET", "/version"): self._version,
            ("GET", "/kv_event_sources"): self._event_sources,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/health"): self._empty,
            ("GET", "/ping"): self._empty,
            ("POST", "/ping"): self._empty,
        }
        self._paths = {path for _method, path in self._routes}

    async def __aenter__(self) -> Self:
        """Start the engine's loop."""
        self._started_at = self._wall_time()
        self._running = asyncio.create_task(self.core.run(), name=f"sim {self.options.model}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the engine's loop; a bug that had ended it is raised here."""
        assert self._running is not None
        self._running.cancel()
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()

    def event_source(self) -> InMemoryEventSource:
        """A subscription to this engine's KV events for the same process."""
        return InMemoryEventSource(self.log)

    async def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> SimAnswer:
        """Answer one request; `path` may carry a query. Nothing that a client sends makes it raise."""
        lowered = {name.lower(): value for name, value in headers.items()}
        path = path.partition("?")[0]
        if path in CONTROL_PATHS:
            self.control_calls[path] += 1
            return _json(200, {})
        handler = self._routes.get(("GET" if method == "HEAD" else method, path))
        if handler is None:
            is_known = path in self._paths
            return _json(405 if is_known else 404, {"detail": "Method Not Allowed" if is_known else "Not Found"})
        try:
            answer = await handler(body, lowered)
        except SimFault as fault:
            answer = _refusal(fault)
        except RecursionError:
            answer = _refusal(SimFault(400, "the body is nested too deeply"))
        if request_id := lowered.get("x-request-id"):
            answer = msgspec.structs.replace(answer, headers=(*answer.headers, ("x-request-id", request_id)))
        return answer

    def _publish(self, events: list[CacheEvent]) -> None:
        if self.options.publishes_events:
            self.log.publish(events, self._wall_time())

    def _wall_time(self) -> float:
        return self.options.wall_epoch_s + asyncio.get_running_loop().time()

    def _check_model(self, model: str | None) -> None:
        if model is not None and model not in (self.options.model, *self.options.loras):
            raise SimFault(404, f"The model `{model}` does not exist.", kind="NotFoundError", param="model")

    async def _chat(self, body: bytes, headers: Mapping[str, str]) -> SimAnswer:
        call = read(body, ChatBody)
        self._check_model(call.model)
        return await self._answer(self._preparer.chat(call, headers), is_stream=bool(call.stream))

    async def _completion(self, body: bytes, headers: Mapping[str, str]) -> SimAnswer:
        call = read(body, CompletionBody)
        self._check_model(call.model)
        return await self._answer(self._preparer.completion(call, headers), is_stream=bool(call.stream))

    async def _answer(self, prepared: Prepared, *, is_stream: bool) -> SimAnswer:
        if is_stream:
            head = (("content-type", "text/event-stream; charset=utf-8"),)
            return SimAnswer(200, head, self._generator.stream(prepared))
        return SimAnswer(200, (("content-type", "application/json"),), await self._generator.whole(prepared))

    async def _tokenize(self, body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        call = read(body, TokenizeBody)
        self._check_model(call.model)
        if call.messages is not None:
            check_messages(call.messages)
            text = render_chat(call.messages, call.tools or ())
        elif call.prompt is not None:
            text = call.prompt
        else:
            raise SimFault(400, "either prompt or messages is needed", param="prompt")
        tokens = encode(text).tolist()
        return _json(200, {"count": len(tokens), "max_model_len": self.preset.max_model_len, "tokens": tokens})

    async def _reset_prefix_cache(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        self.core.scheduler.pool.clear()
        return _empty()

    async def _models(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        base = self.options.model
        cards = [
            {
                "id": name,
                "object": "model",
                "created": int(self.options.wall_epoch_s),
                "owned_by": OWNER,
                "root": name,
                "parent": None if name == base else base,
                "max_model_len": self.preset.max_model_len if name == base else None,
            }
            for name in (base, *self.options.loras)
        ]
        return _json(200, {"object": "list", "data": cards})

    async def _version(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        return _json(200, {"version": VERSION})

    async def _event_sources(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        if self.endpoints is None:
            return _json(200, {})
        source = {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": self.endpoints.events,
            "replay_endpoint": self.endpoints.replay,
            "buffer_steps": self.options.event_buffer,
            "topic": TOPIC,
        }
        return _json(200, {"0": source})

    async def _empty(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        return _empty()

    async def _metrics(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        head = (("content-type", "text/plain; version=0.0.4; charset=utf-8"),)
        return SimAnswer(200, head, expose(self.core, self.options.model, self.control_calls, self._started_at))


def _json(status: int, value: Any) -> SimAnswer:
    return SimAnswer(status, (("content-type", "application/json"),), msgspec.json.encode(value))


def _refusal(fault: SimFault) -> SimAnswer:
    return SimAnswer(fault.status, (("content-type", "application/json"),), fault.body())


def _empty() -> SimAnswer:
    return SimAnswer(200, (("content-type", "text/plain; charset=utf-8"),), b"")
