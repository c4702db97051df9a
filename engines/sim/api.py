"""vLLM's HTTP surface over the embedded engine, independent of any HTTP library.

`SimEngine.handle` takes a request's parts and gives an answer's; a server and an in-memory transport both stand on it.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

import msgspec

from turnwise.engines.sim.blocks import CacheEvent
from turnwise.engines.sim.bodies import SimFault
from turnwise.engines.sim.calls import JSON, Calls, SimAnswer, json_answer
from turnwise.engines.sim.core import EngineCore
from turnwise.engines.sim.exposition import expose
from turnwise.engines.sim.faults import Liar, LossyLine
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.publisher import TOPIC, EventLog, InMemoryEventSource, Published

__all__ = ["CONTROL_PATHS", "OWNER", "VERSION", "EventEndpoints", "SimAnswer", "SimEngine"]

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


RESET_PATH = "/reset_prefix_cache"
"""Of vLLM's development mode; `?reset_external=true` empties the CPU tier, too."""


class EventEndpoints(msgspec.Struct, frozen=True):
    """ZMQ addresses under which a server publishes this engine's events."""

    events: str
    replay: str


_STORED_RESPONSE = re.compile(r"/v1/responses/(?P<id>[^/]+)(?P<cancel>/cancel)?")
_Handler = Callable[[bytes, Mapping[str, str]], Awaitable[SimAnswer]]


class SimEngine:
    """One embedded engine. Entering it starts its loop; leaving it ends every call under way.

    It may be entered again while it runs, as by one proxy after another: the last to leave ends it.
    """

    def __init__(self, options: SimOptions) -> None:
        self.options = options
        self.preset = options.resolve()
        self.endpoints: EventEndpoints | None = None
        """Set by a server that publishes; `/kv_event_sources` tells of it."""
        self.control_calls = Counter(dict.fromkeys(CONTROL_PATHS, 0))
        """Requests that reached one of `CONTROL_PATHS`."""
        self.log = _event_log(options, self.preset.block_size)
        self._numbers = count(1)
        """Numbers of calls; they go on over restarts, so that no id comes twice."""
        self._running: asyncio.Task[None] | None = None
        self._num_users = 0
        self._started_at = 0.0
        self._boot()

    def _boot(self) -> None:
        """Put everything in place that a process has in its memory."""
        self.core = EngineCore(self.preset, speed=self.options.speed, publish=self._publish)
        self._calls = calls = Calls(self.options, self.preset, self.core, self._wall_time, self._numbers)
        self._routes: dict[tuple[str, str], _Handler] = {
            ("POST", "/v1/chat/completions"): calls.chat,
            ("POST", "/v1/completions"): calls.completion,
            ("POST", "/v1/messages"): calls.messages,
            ("POST", "/v1/messages/count_tokens"): calls.count_tokens,
            ("POST", "/v1/responses"): calls.responses,
            ("POST", "/v1/embeddings"): calls.embeddings,
            ("POST", "/tokenize"): calls.tokenize,
            ("POST", "/detokenize"): calls.detokenize,
            ("GET", "/v1/models"): self._models,
            ("GET", "/version"): self._version,
            ("GET", "/kv_event_sources"): self._event_sources,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/health"): self._empty,
            ("GET", "/ping"): self._empty,
            ("POST", "/ping"): self._empty,
        }
        self._paths = {RESET_PATH, *(path for _method, path in self._routes)}

    async def __aenter__(self) -> Self:
        """Start the engine's loop, unless it runs."""
        if not self._num_users:
            self._start()
        self._num_users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the engine's loop, if nobody else needs it; a bug that had ended it is raised here."""
        self._num_users -= 1
        if not self._num_users:
            await self._stop()

    async def restart(self) -> None:
        """Do as a process that ends and comes back: calls under way break off, the cache is empty, event sequences begin at 0.

        In-memory sources lose their feed. A socket that publishes outlives this, so its listeners see the sequence go back.
        """
        await self._stop()
        self._boot()
        self.log.restart()
        self._start()

    def restart_silently(self) -> None:
        """Lose the cache as a restart would, and tell nobody: no event, no gap in sequences, no call that breaks off."""
        self.core.lose_cache()

    def _start(self) -> None:
        self._started_at = self._wall_time()
        self._running = asyncio.create_task(self.core.run(), name=f"sim {self.options.model}")

    async def _stop(self) -> None:
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
        path, _mark, query = path.partition("?")
        if path in CONTROL_PATHS:
            self.control_calls[path] += 1
            return json_answer(200, {})
        try:
            if (method, path) == ("POST", RESET_PATH):
                answer = self._reset_prefix_cache(query)
            else:
                answer = await self._routed("GET" if method == "HEAD" else method, path, lowered, body)
        except SimFault as fault:
            answer = _refusal(fault, path)
        except RecursionError:
            answer = _refusal(SimFault(400, "the body is nested too deeply"), path)
        if request_id := lowered.get("x-request-id"):
            answer = msgspec.structs.replace(answer, headers=(*answer.headers, ("x-request-id", request_id)))
        return answer

    async def _routed(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> SimAnswer:
        handler = self._routes.get((method, path))
        if handler is not None:
            return await handler(body, headers)
        if stored := _STORED_RESPONSE.fullmatch(path):
            if method == "GET" and not stored["cancel"]:
                return await self._calls.retrieve_response(stored["id"])
            if method == "POST" and stored["cancel"]:
                return await self._calls.cancel_response(stored["id"])
        is_known = path in self._paths or stored is not None
        return json_answer(405 if is_known else 404, {"detail": "Method Not Allowed" if is_known else "Not Found"})

    def _publish(self, events: list[CacheEvent]) -> None:
        if self.options.publishes_events:
            self.log.publish(events, self._wall_time())

    def _wall_time(self) -> float:
        return self.options.wall_epoch_s + asyncio.get_running_loop().time()

    def _reset_prefix_cache(self, query: str) -> SimAnswer:
        with_tier = parse_qs(query).get("reset_external", [""])[-1].lower() in {"true", "1"}
        return json_answer(200, {"success": self.core.reset_cache(with_tier=with_tier)})

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
        return json_answer(200, {"object": "list", "data": cards})

    async def _version(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        return json_answer(200, {"version": VERSION})

    async def _event_sources(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        if self.endpoints is None:
            return json_answer(200, {})
        source = {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": self.endpoints.events,
            "replay_endpoint": self.endpoints.replay,
            "buffer_steps": self.options.event_buffer,
            "topic": TOPIC,
        }
        return json_answer(200, {"0": source})

    async def _empty(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        return _empty()

    async def _metrics(self, _body: bytes, _headers: Mapping[str, str]) -> SimAnswer:
        head = (("content-type", "text/plain; version=0.0.4; charset=utf-8"),)
        return SimAnswer(200, head, expose(self.core, self.options, self.control_calls, self._started_at))


def _event_log(options: SimOptions, block_size: int) -> EventLog:
    line = LossyLine[Published](
        drop=options.drop_batches, reorder=options.reorder_batches, duplicate=options.duplicate_batches, seed=options.seed
    )
    is_lossy = options.drop_batches or options.reorder_batches or options.duplicate_batches
    return EventLog(
        block_size,
        options.loras,
        options.event_buffer if options.publishes_events else 0,
        line=line if is_lossy else None,
        liar=Liar(options.nonsense_events, options.seed) if options.nonsense_events else None,
    )


def _refusal(fault: SimFault, path: str) -> SimAnswer:
    shaped = fault.anthropic_body() if path.startswith("/v1/messages") else fault.openai_body()
    return SimAnswer(fault.status, JSON, shaped)


def _empty() -> SimAnswer:
    return SimAnswer(200, (("content-type", "text/plain; charset=utf-8"),), b"")
