"""What the proxy asks of any engine; one adapter knows one engine's endpoints and wire formats."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

import httpx

from turnwise.events import EventBatch, EventSourceInfo, LoadReport, ReplicaFacts


class ReplayUnavailable(Exception):
    """The engine cannot give the batches asked for: no replay endpoint, no answer in time, or they are too old."""


class FeedLost(ConnectionError):
    """An engine's events cannot be heard: it does not answer, its address cannot be used, or the connection is gone."""


class EventSource(Protocol):
    """A live subscription to one rank's KV events; while it lasts, whatever the engine publishes is heard."""

    async def __aenter__(self) -> Self:
        """Connect, and wait until the engine is there; raises `FeedLost` where it does not come."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the sockets."""

    async def receive(self) -> list[EventBatch]:
        """Wait for the next batches, in order of arrival.

        Raises `ValueError` on a frame that cannot be read, and `FeedLost` once the connection is gone: what is published
        from then on is heard by a new source only.
        """

    async def replay(self, start: int) -> list[EventBatch]:
        """Batches from sequence `start` on that the engine still keeps; raises `ReplayUnavailable`."""


class EngineAdapter(Protocol):
    """Control calls to one kind of engine, over plain HTTP."""

    async def discover(self, http: httpx.AsyncClient, base_url: str) -> ReplicaFacts:
        """Ask a replica who it is; raises `httpx.HTTPError` where it cannot be reached or answers wrongly."""

    async def models(self, http: httpx.AsyncClient, base_url: str) -> tuple[str, ...]:
        """Ask a replica what it serves, which is also how it proves to be there; raises `httpx.HTTPError`."""

    async def load(self, http: httpx.AsyncClient, base_url: str) -> LoadReport:
        """Ask a replica how busy it is; what it does not tell is None."""

    def events(self, source: EventSourceInfo) -> EventSource:
        """A subscription to one rank's events."""
