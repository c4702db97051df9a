"""Control calls to a vLLM replica, or to anything that speaks its API."""

from __future__ import annotations

import logging
import re
from typing import Any

import httpx
import msgspec

from turnwise.engines.vllm.events import ZmqEventSource
from turnwise.engines.vllm.metrics import count_ranks, read_load
from turnwise.events import EventSourceInfo, LoadReport, ReplicaFacts

logger = logging.getLogger(__name__)

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
        """Ask a replica who it is; raises `httpx.HTTPError` where it cannot be reached or its models cannot be read.

        The rest is absent in older versions or behind a flag, so an error or an unreadable answer leaves it unknown.
        """
        cards = await _cards(http, base_url)
        version = await _ask_if_told(http, base_url, "/version", _Version)
        sources = await _ask_if_told(http, base_url, "/kv_event_sources", dict[str, _Source])
        page = await _metrics_page(http, base_url)
        lengths = [card.max_model_len for card in cards if card.max_model_len is not None]
        return ReplicaFacts(
            models=_names(cards),
            max_model_len=lengths[0] if lengths else None,
            engine=cards[0].owned_by if cards else "unknown",
            version=version.version if version is not None else None,
            event_sources=_event_sources(sources, base_url, count_ranks(page)) if sources is not None else (),
            load=read_load(page),
        )

    async def models(self, http: httpx.AsyncClient, base_url: str) -> tuple[str, ...]:
        """Ask a replica what it serves, adapters included; raises `httpx.HTTPError`."""
        return _names(await _cards(http, base_url))

    async def load(self, http: httpx.AsyncClient, base_url: str) -> LoadReport:
        """Ask a replica how busy it is; what it does not tell is None."""
        return read_load(await _metrics_page(http, base_url))

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


def _event_sources(sources: dict[str, _Source], base_url: str, num_ranks: int) -> tuple[EventSourceInfo, ...]:
    """One source for each rank: a rank that is not listed, or is listed under the ports of rank 0, adds its number to them."""
    listed = {int(rank): source for rank, source in sources.items() if rank.isdecimal()}
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


def _names(cards: tuple[_ModelCard, ...]) -> tuple[str, ...]:
    return tuple(card.id for card in cards)


async def _cards(http: httpx.AsyncClient, base_url: str) -> tuple[_ModelCard, ...]:
    models: _Models = await _ask(http, base_url, "/v1/models", _Models)
    return models.data


async def _ask(http: httpx.AsyncClient, base_url: str, path: str, kind: Any) -> Any:
    answer = await _get(http, base_url, path)
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise httpx.DecodingError(f"{answer.url} answers wrongly: {error}", request=answer.request) from error


async def _ask_if_told(http: httpx.AsyncClient, base_url: str, path: str, kind: Any) -> Any:
    """What a path that need not be there answers, None where that is an error or cannot be read.

    No answer at all raises: a replica too busy to tell must be asked again, not be taken for one that has nothing to tell.
    """
    try:
        return await _ask(http, base_url, path, kind)
    except (httpx.HTTPStatusError, httpx.DecodingError) as error:
        logger.debug("%s%s is not told: %s", base_url, path, error)
        return None


async def _metrics_page(http: httpx.AsyncClient, base_url: str) -> bytes:
    """The metrics, empty where they are not given; the next look at the load asks again."""
    try:
        return (await _get(http, base_url, "/metrics")).content
    except httpx.HTTPError as error:
        logger.debug("%s/metrics is not told: %s", base_url, error)
        return b""


async def _get(http: httpx.AsyncClient, base_url: str, path: str) -> httpx.Response:
    return (await http.get(base_url.rstrip("/") + path)).raise_for_status()
