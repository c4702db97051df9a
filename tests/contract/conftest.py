"""The engines that the contract suite runs against: the embedded one always, real ones where they are named.

`TURNWISE_VLLM_URLS` lists base URLs of real vLLM replicas, with commas between; each is tested by itself. With
`TURNWISE_VLLM_PROXY_URL` the suite also runs through a proxy that stands in front of all of them. Prompts begin with a fresh
nonce, so that replicas may be warm.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim
from turnwise.engines.vllm import VllmAdapter, ZmqEventSource
from turnwise.events import BlocksStored, EventBatch, EventSourceInfo

REPLICAS = tuple(url for url in os.environ.get("TURNWISE_VLLM_URLS", "").split(",") if url)
PROXY = os.environ.get("TURNWISE_VLLM_PROXY_URL")
PATIENCE_S = 60.0
"""How long anything may take before a test gives up; no test asserts on time."""


class Engine(msgspec.Struct, frozen=True):
    """What the suite asks: `base_url` for calls, `replicas` behind it for metrics, `sources` for their events."""

    base_url: str
    replicas: tuple[str, ...]
    model: str
    block_size: int
    sources: tuple[EventSourceInfo, ...]
    http: httpx.AsyncClient

    @property
    def is_direct(self) -> bool:
        """Whether no proxy stands between, which would set stamps of its own."""
        return self.base_url in self.replicas

    async def post(self, path: str, body: dict | bytes, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await self.http.post(f"{self.base_url}{path}", content=content, headers=named)

    async def complete(self, prompt: str | list[int], stamp: str = "", **fields: object) -> dict:
        headers = {"x_session_id": stamp} if stamp else {}
        body = {"model": self.model, "prompt": prompt, "max_tokens": 4, "ignore_eos": True, **fields}
        answer = await self.post("/v1/completions", body, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def chat(self, messages: list[dict], **fields: object) -> dict:
        body = {"model": self.model, "messages": messages, "max_tokens": 8, **fields}
        answer = await self.post("/v1/chat/completions", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def stream(self, path: str, body: dict) -> list[bytes]:
        """Data of every server-sent event."""
        whole = {"model": self.model, "stream": True, **body}
        async with self.http.stream("POST", f"{self.base_url}{path}", json=whole) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            return [line.removeprefix("data: ").encode() async for line in answer.aiter_lines() if line.startswith("data: ")]

    async def metrics(self) -> list[str]:
        """Lines of every replica's metrics."""
        return [line for url in self.replicas for line in (await self.http.get(f"{url}/metrics")).text.splitlines()]

    async def metric(self, name: str) -> float:
        """One metric, summed over replicas and labels."""
        return sum(float(line.rpartition(" ")[2]) for line in await self.metrics() if line.startswith(f"{name}{{"))

    async def replay(self) -> list[list[EventBatch]]:
        """Everything that each source still keeps."""
        return [await ZmqEventSource(source, replay_timeout_s=PATIENCE_S).replay(0) for source in self.sources]

    async def stamped(self, stamp: str) -> list[BlocksStored]:
        """All stored events of the source that holds blocks with this stamp, once there are some."""
        while True:
            for batches in await self.replay():
                events = [event for batch in batches for event in batch.events if isinstance(event, BlocksStored)]
                if any(event.call_id == stamp for event in events):
                    return events


def _targets() -> list[object]:
    real = [pytest.param(url, marks=pytest.mark.vllm, id=f"vllm{index}") for index, url in enumerate(REPLICAS)]
    if PROXY and REPLICAS:
        real.append(pytest.param(PROXY, marks=pytest.mark.vllm, id="proxy"))
    return [pytest.param(None, id="sim"), *real]


@pytest.fixture(params=_targets())
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        if request.param is None:
            async with serve_sim(SimEngine(SimOptions())) as address:
                yield await _describe(http, address.url, (address.url,))
        else:
            url = request.param.rstrip("/")
            yield await _describe(http, url, REPLICAS if request.param == PROXY else (url,))


async def _describe(http: httpx.AsyncClient, base_url: str, replicas: tuple[str, ...]) -> Engine:
    facts = [await VllmAdapter().discover(http, url) for url in replicas]
    block_size = facts[0].load.block_size
    assert block_size is not None
    sources = tuple(source for fact in facts for source in fact.event_sources)
    return Engine(base_url, replicas, facts[0].models[0], block_size, sources, http)
