"""Control calls to a vLLM replica, or to anything that speaks its API."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec

from turnwise.engines.vllm.events import ZmqEventSource
from turnwise.engines.vllm.metrics import count_ranks, read_load
from turnwise.events import EventSourceInfo, LoadReport, ReplicaFacts

_TCP = re.compile(r"^tcp://(?P<host>.+):(?P<port>\d+)$")
_WILDCARDS = {"*", "0.0.0.0", "[::]", "::"}


class _ModelCard(msgspec.Struct, frozen=True):
    id: str
    owned_by: str = "vllm"
    max_model_len: int | None = None


class _Models(msgspec.Struct, frozen=True):
    data: tuple[_ModelCard, ...]


class _Version(msgspec.Struct, frozen=True):
    version: str | None = None


class _Source(msgspec.Struct, frozen=True):
    endpoint: str | None = None
    replay_endpoint: str | None = None
    topic: str = ""
    publisher: str | None = "zmq"
    enable_kv_cache_events: bool = True


class VllmAdapter:
    """An `EngineAdapter` for vLLM; `engine` in its facts is what the replica calls itself in `owned_by`."""

    async def discover(self, http: httpx.AsyncClient, base_url: str) -> ReplicaFacts:
        """Ask a replica who it is; raises `httpx.HTTPError` where it cannot be reached or answers wrongly.

        Only `/v1/models` must answer: the rest is absent in older versions or behind a flag.
        """
        models = _read(await _get(http, base_url, "/v1/models"), _Models)
        version = await http.get(_join(base_url, "/version"))
        sources = await http.get(_join(base_url, "/kv_event_sources"))
        metrics = await http.get(_join(base_url, "/metrics"))
        page = metrics.content if metrics.is_success else b""
        lengths = [card.max_model_len for card in models.data if card.max_model_len is not None]
        return ReplicaFacts(
            models=tuple(card.id for card in models.data),
            max_model_len=lengths[0] if lengths else None,
            engine=models.data[0].owned_by if models.data else "unknown",
            version=_read(version, _Version).version if version.is_success else None,
            event_sources=_event_sources(sources, base_url, count_ranks(page)) if sources.is_success else (),
            load=read_load(page),
        )

    async def load(self, http: httpx.AsyncClient, base_url: str) -> LoadReport:
        """Ask a replica how busy it is; raises `httpx.HTTPError`."""
        return read_load((await _get(http, base_url, "/metrics")).content)

    def events(self, source: EventSourceInfo) -> ZmqEventSource:
        """A subscription to one rank's events."""
        return ZmqEventSource(source)


def reachable_endpoint(endpoint: str, base_url: str, offset: int = 0) -> str:
    """A published ZMQ address as seen from here: a wildcard host becomes the replica's own, and `offset` adds to the port.

    Addresses other than TCP are given back as they are.
    """
    found = _TCP.match(endpoint)
    if found is None:
        return endpoint
    host = found["host"]
    if host in _WILDCARDS:
        host = httpx.URL(base_url).host
        host = f"[{host}]" if ":" in host else host
    return f"tcp://{host}:{int(found['port']) + offset}"


def _event_sources(answer: httpx.Response, base_url: str, num_ranks: int) -> tuple[EventSourceInfo, ...]:
    """One source for each rank: a rank that is not listed, or is listed under the ports of rank 0, adds its number to them."""
    listed = {int(rank): source for rank, source in _read(answer, dict[str, _Source]).items() if rank.isdecimal()}
    first = listed.get(0)
    found: list[EventSourceInfo] = []
    for rank in sorted(set(range(num_ranks if first else 0)) | set(listed)):
        source = listed.get(rank, first)
        if source is None or not source.endpoint or source.publisher != "zmq" or not source.enable_kv_cache_events:
            continue
        offset = rank if first is not None and source.endpoint == first.endpoint else 0
        replay = source.replay_endpoint
        found.append(
            EventSourceInfo(
                rank=rank,
                endpoint=reachable_endpoint(source.endpoint, base_url, offset),
                replay_endpoint=reachable_endpoint(replay, base_url, offset) if replay else None,
                topic=source.topic,
            )
        )
    return tuple(found)


async def _get(http: httpx.AsyncClient, base_url: str, path: str) -> httpx.Response:
    return (await http.get(_join(base_url, path))).raise_for_status()


def _join(base_url: str, path: str) -> str:
    return base_url.rstrip("/") + path


def _read(answer: httpx.Response, kind: Any) -> Any:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise httpx.DecodingError(f"{answer.url} answers wrongly: {error}", request=answer.request) from error
