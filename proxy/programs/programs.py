"""The face: which program each call belongs to, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Mapping

from turnwise.proxy.programs import spans
from turnwise.proxy.programs.turn import Turn
from turnwise.proxy.programs.values import Attempt, Basis, Call, Ended, Key, Summary, Times
from turnwise.proxy.programs.values import Outcome as ProgramOutcome
from turnwise.settings import ProgramSettings, TraceSettings
from turnwise.types import Outcome, ProgramId, Request


class Programs:
    """All live programs, bounded; pure."""

    def __init__(self, settings: ProgramSettings, traces: TraceSettings) -> None:
        self._settings = settings
        self._traces = traces
        self._live: dict[ProgramId, tuple[Key, list[Call]]] = {}

    def begin(self, request: Request, fields: Mapping[bytes, bytes], now: float) -> Turn | None:  # noqa: ARG002
        """Say which program, session, agent and turn a call is; None for a request that is no call (it has no prompt)."""
        if request.chain is None:
            return None
        name = request.call_id
        program = ProgramId(spans.root_span("", name, 0).hex())
        key = Key(program, "", "", "", 0, spans.trace_id("", name, 0), spans.root_span("", name, 0), None, True, now, Basis.NEW)
        self._live[program] = (key, [])
        return Turn(key, request, 0, 0, Basis.NEW)

    def retried(self, turn: Turn, outcome: Outcome) -> None:
        """An attempt failed, and another replica is tried."""
        failed = Attempt(
            outcome.attempt, outcome.placement.replica, outcome.reason, outcome.sent_at, outcome.ended_at, outcome.booked_at
        )
        turn.attempts = (*turn.attempts, failed)

    def settle(self, turn: Turn, outcome: Outcome, now: float) -> Call:  # noqa: ARG002
        """End a call; returns its record."""
        usage = outcome.usage
        times = Times(
            outcome.arrived_at,
            outcome.read_at,
            outcome.read_at,
            outcome.booked_at,
            outcome.sent_at,
            outcome.head_at,
            outcome.first_token_at,
            outcome.first_visible_at,
            outcome.last_byte_at,
            outcome.ended_at,
            outcome.first_tool_at,
        )
        call = Call(
            turn.call_id,
            outcome.request_id,
            turn.agent,
            turn.number,
            turn.basis,
            turn.links,
            times,
            outcome.dialect,
            outcome.model,
            outcome.placement.replica,
            outcome.status,
            outcome.reason,
            outcome.is_stream,
            outcome.attempt,
            turn.attempts,
            outcome.finish_reason,
            outcome.response_id,
            outcome.placement.prompt_tokens if usage is None else usage.prompt_tokens,
            None if usage is None else usage.cached_tokens,
            outcome.placement.hit.tokens,
            None if usage is None else usage.completion_tokens,
            outcome.max_tokens,
            outcome.tool_calls,
            turn.runs,
            outcome.is_complete and not outcome.tool_calls,
            turn.client_trace,
            turn.agent_name,
        )
        self._live[turn.key.id][1].append(call)
        return call

    def drop(self, turn: Turn, reason: str, now: float) -> Call:
        """End a call of which no attempt could be made; returns its record."""
        request = turn.request
        times = Times(request.arrived_at, request.read_at, now, now, ended=now)
        call = Call(
            turn.call_id,
            request.request_id,
            turn.agent,
            turn.number,
            turn.basis,
            turn.links,
            times,
            request.dialect,
            request.model,
            None,
            None,
            reason,
            request.is_stream,
            0,
            turn.attempts,
            None,
            None,
            0,
            None,
            0,
            None,
            request.max_tokens,
            (),
            turn.runs,
            is_final=False,
            client_trace=turn.client_trace,
            agent_name=turn.agent_name,
        )
        self._live[turn.key.id][1].append(call)
        return call

    def end(self, program: ProgramId, now: float) -> Ended | None:  # noqa: ARG002
        """End a program because somebody asked; None where it is not live."""
        live = self._live.pop(program, None)
        return None if live is None else _ended(*live, ProgramOutcome.ASKED)

    def sweep(self, now: float) -> list[Ended]:  # noqa: ARG002
        """End those whose time has come; a bounded amount of work at a time, and empty where nothing is left to do."""
        return []

    def close(self, now: float) -> list[Ended]:  # noqa: ARG002
        """End all, as the proxy stops."""
        ended = [_ended(*live, ProgramOutcome.SHUTDOWN) for live in self._live.values()]
        self._live.clear()
        return ended

    def listing(self, now: float) -> list[Summary]:
        """All live programs and the newest ended ones, the most recently used first."""
        raise NotImplementedError

    def calls(self, program: ProgramId) -> tuple[Key, tuple[Call, ...]] | None:
        """A program's finished calls in the order of their ends; None where it is not known."""
        live = self._live.get(program)
        return None if live is None else (live[0], tuple(live[1]))


def _ended(key: Key, calls: list[Call], outcome: ProgramOutcome) -> Ended:
    return Ended(key, outcome, tuple(calls), max((call.times.ended for call in calls), default=key.started_at))
