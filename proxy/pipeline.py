"""The life of one call in seven steps; the whole product in one function. docs/architecture.md has the picture."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from turnwise.dialects import DIALECTS, Route
from turnwise.proxy import edits
from turnwise.proxy.dispatch import Dispatch
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.lease_tap import UNWATCHED, LeaseTap
from turnwise.proxy.member import Lease
from turnwise.proxy.policy.place import place
from turnwise.proxy.policy.retry import Attempt
from turnwise.proxy.programs import Turn
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import Client, RawRequest, Upstream
from turnwise.proxy.wire.relay import Relay
from turnwise.settings import Settings
from turnwise.types import Outcome, Request


class Pipeline:
    """What a call walks through; one for the process, made on its loop. `dispatch` is None where there is no tools gateway."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        upstream: Upstream,
        recorder: Recorder,
        clock: Callable[[], float],
        dispatch: Dispatch | None = None,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._upstream = upstream
        self._recorder = recorder
        self._clock = clock
        self._dispatch = dispatch
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(settings.edits)
        self._first_attempt = Attempt.first(settings.upstream.max_attempts)

    async def handle(self, raw: RawRequest, route: Route, request_id: str, client: Client) -> Outcome:
        """Serve one call; raises `ClientFault` or `Overloaded` where no attempt could be made."""
        request = self._reader.read(raw, route, request_id)  # 1 dialect and prompt chain, pure ...
        turn = self._recorder.begin(request, raw.fields)  # ... and the program that it belongs to
        try:
            if request.continues and self._fleet.siblings is not None:
                await self._fleet.held.seek(request, self._fleet.siblings)
            attempt = self._first_attempt  # 2 admission stands here once there is a gate
            while True:
                now = self._clock()
                view = self._fleet.view(request, exclude=attempt.failed, now=now)  # 3 frozen; no await from here ...
                placement = place(request, view, self._settings.policy)  # 4 pure
                with self._fleet.book(request, placement, now) as lease:  # 5 ... to here: load and predicted residency, at once
                    outcome = await self._forward(request, turn, lease, attempt.number, client)  # 6 I/O
                if outcome.is_retryable:
                    self._fleet.refused(placement.replica, self._clock())
                    # A call that continues what a replica holds asks once more, and is told that its holder is lost.
                    if not attempt.is_last and (len(view.replicas) > 1 or request.continues):
                        self._recorder.failed(turn, outcome)
                        attempt = attempt.after(placement.replica)
                        continue
                self._recorder.settle(request, turn, outcome, lease)  # 7 index, fleet, program, one log line
                return outcome
        except BaseException as error:  # whatever happens: a turn that is not given back would run for ever
            self._recorder.dropped(turn, error)
            raise

    async def _forward(self, request: Request, turn: Turn | None, lease: Lease, attempt: int, client: Client) -> Outcome:
        dialect = DIALECTS[request.dialect]
        member, placement = lease.member, lease.placement
        # An answer is of use where a later prompt can be told to repeat it.
        tap = dialect.tap(wants_answer=request.chain is not None and request.num_choices == 1)
        seen = LeaseTap(tap, lease, is_stored=request.is_stored)
        watch = None if self._dispatch is None else self._dispatch.watch(request, turn, member.facts, tap, seen)
        relay = Relay(
            client,
            answer_headers=partial(edits.answer_head, request, placement),
            tap=watch or seen,
            stream_filter=None if request.wants_usage else dialect.usage_filter(),
            error_event=dialect.error_event,
            clock=self._clock,
            loop=self._loop,
        )
        try:
            sent = edits.outgoing(
                request, turn, attempt, member.settings, asks_report=lease.asks_report, edits=self._settings.edits
            )
            relay.begin(self._upstream, member.origin, sent)
            await relay.done
        finally:
            relay.end()
            if watch is not None:
                watch.settle(relay, self._clock())
        facts = tap or UNWATCHED
        # By position, in the order of `Outcome`: by name, as many arguments take five times as long.
        return Outcome(
            request.call_id,
            request.request_id,
            request.dialect,
            request.model,
            request.max_tokens,
            request.num_choices,
            request.is_stream,
            request.unhashed_bytes,
            request.arrived_at,
            request.read_at,
            placement,
            attempt,
            relay.status,
            relay.is_complete,
            relay.has_started,
            relay.is_client_gone,
            relay.fault,
            facts.usage,
            facts.finish_reason,
            lease.booked_at,
            relay.sent_at,
            relay.head_at,
            relay.first_byte_at,
            facts.first_token_at,
            facts.first_visible_at,
            relay.last_byte_at,
            self._clock(),
            relay.body_bytes,
            facts.answer,
            facts.tool_calls,
            facts.first_tool_at,
            facts.response_id,
        )
