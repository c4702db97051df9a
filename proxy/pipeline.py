"""The life of one call in seven steps; the whole product in one function. docs/architecture.md has the picture."""

from __future__ import annotations

from collections.abc import Callable

from turnwise.dialects import DIALECTS, Route
from turnwise.errors import ProxyFault
from turnwise.proxy import edits
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet, Lease
from turnwise.proxy.lease_tap import LeaseTap
from turnwise.proxy.policy.place import place
from turnwise.proxy.policy.retry import Attempts
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import Client, RawRequest, Upstream
from turnwise.proxy.wire.relay import relay
from turnwise.settings import Settings
from turnwise.types import Outcome, Request


class Pipeline:
    """What a call walks through; one for the process."""

    def __init__(
        self, settings: Settings, fleet: Fleet, upstream: Upstream, recorder: Recorder, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._upstream = upstream
        self._recorder = recorder
        self._clock = clock
        self._reader = Reader(settings.edits)

    async def handle(self, raw: RawRequest, route: Route, request_id: str, client: Client) -> Outcome:
        """Serve one call; raises `ClientFault` or `Overloaded` where no attempt could be made."""
        request = self._reader.read(raw, route, request_id)  # 1 dialect and prompt chain, pure
        attempts = Attempts(self._settings.upstream.max_attempts)  # 2 admission stands here once there is a gate
        for attempt in attempts:
            now = self._clock()
            view = self._fleet.view(request, exclude=attempt.failed, now=now)  # 3 frozen; no await from here ...
            placement = place(request, view, self._settings.policy)  # 4 pure
            with self._fleet.book(request, placement, now) as lease:  # 5 ... to here: load and predicted residency, at once
                outcome = await self._forward(request, lease, attempt.number, client)  # 6 I/O
            if outcome.is_retryable:
                self._fleet.refused(placement.replica, self._clock())
            # A call that continues what a replica holds asks once more, and is told that its holder is lost.
            has_others = len(view.replicas) > 1 or bool(request.continues)
            if not outcome.is_retryable or attempt.is_last or not has_others:
                self._recorder.settle(outcome, lease.work_tokens)  # 7 index, fleet, metrics, one log line
                return outcome
            self._recorder.failed(outcome)
            attempts.failed(placement.replica)
        raise ProxyFault

    async def _forward(self, request: Request, lease: Lease, attempt: int, client: Client) -> Outcome:
        dialect = DIALECTS[request.dialect]
        member, placement = lease.member, lease.placement
        tap = LeaseTap(dialect.tap(), lease, is_stored=request.is_stored)
        result = await relay(
            self._upstream,
            member.origin,
            edits.outgoing(request, stamps=member.settings.stamp, edits=self._settings.edits),
            client,
            answer_headers=lambda head: edits.answer_head(head, request, placement),
            tap=tap,
            stream_filter=None if request.wants_usage else dialect.usage_filter(),
            error_event=dialect.error_event,
            clock=self._clock,
        )
        return Outcome(
            request=request,
            placement=placement,
            attempt=attempt,
            status=result.status,
            is_complete=result.is_complete,
            has_started=result.has_started,
            is_client_gone=result.is_client_gone,
            fault=result.fault,
            usage=tap.usage,
            finish_reason=tap.finish_reason,
            booked_at=lease.booked_at,
            sent_at=result.sent_at,
            head_at=result.head_at,
            first_byte_at=result.first_byte_at,
            first_token_at=tap.first_token_at,
            first_visible_at=tap.first_visible_at,
            last_byte_at=result.last_byte_at,
            ended_at=self._clock(),
            body_bytes=result.body_bytes,
        )
