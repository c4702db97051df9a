"""The one log line of each call: a JSON object that says where it went, why, and how long each part took."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import overload

from turnwise.index import Finding
from turnwise.proxy.lint import ADVICE
from turnwise.proxy.lint import Finding as Break
from turnwise.types import CallId, Outcome

logger = logging.getLogger("turnwise.calls")
break_logger = logging.getLogger("turnwise.lint")

RECENT_CALLS = 256
"""Calls that the admin API can still explain; about 1 KB each."""


class RecentCalls(Sequence[dict[str, object]]):
    """The lines of the calls that ended last, oldest first; a line is made when somebody looks at it.

    `unix_zero` tells the Unix time at which the clock of calls was 0.
    """

    def __init__(self, unix_zero: Callable[[], float]) -> None:
        self._unix_zero = unix_zero
        self._calls: deque[tuple[Outcome, str, Finding | None, Break | None]] = deque(maxlen=RECENT_CALLS)
        self.append = self._calls.append
        """Keep a call, its lesson, its finding and how it broke its prefix, and forget the oldest where there are too many."""

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[dict[str, object]]:
        return iter(self[:])

    @overload
    def __getitem__(self, index: int) -> dict[str, object]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, object]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, object] | list[dict[str, object]]:
        unix_zero = self._unix_zero()
        if isinstance(index, slice):
            return [call_line(*call, unix_zero=unix_zero) for call in tuple(self._calls)[index]]
        return call_line(*self._calls[index], unix_zero=unix_zero)


class Audit:
    """Writes call lines, and keeps the last of them; `unix_zero` tells the Unix time at which the clock of calls was 0."""

    def __init__(self, unix_zero: Callable[[], float] = lambda: 0.0) -> None:
        self._unix_zero = unix_zero
        self.recent = RecentCalls(unix_zero)

    def attempt_failed(self, outcome: Outcome) -> None:
        """Write that an attempt failed and another replica is tried."""
        fault = outcome.fault
        logger.warning(
            {
                "event": "attempt_failed",
                "request_id": outcome.request_id,
                "replica": outcome.placement.replica,
                "attempt": outcome.attempt,
                "reason": None if fault is None else fault.reason,
                "message": None if fault is None else fault.message,
            }
        )

    def restarted_silently(self, outcome: Outcome) -> None:
        """Write that a call made certain that its replica's cache was emptied though nobody had told."""
        logger.warning(
            {
                "event": "silent_restart",
                "request_id": outcome.request_id,
                "replica": outcome.placement.replica,
                "message": "its cache was found empty though nothing had told: it restarted, or was cleared",
            }
        )

    def prefix_broken(self, call_id: CallId, broken: Break, request_id: str | None = None) -> None:
        """Write that a call broke the prefix of its conversation, if that was not just written.

        `request_id` is None where that became known after the call had ended.
        """
        if not broken.is_repeated:
            break_logger.info(
                {
                    "event": "prefix_break",
                    "request_id": request_id,
                    "call_id": call_id,
                    **_break(broken),
                    "message": f"{ADVICE[broken.cause].meaning} {ADVICE[broken.cause].remedy}",
                }
            )

    def call_ended(self, outcome: Outcome, lesson: str, finding: Finding | None = None, broken: Break | None = None) -> None:
        """Keep a call, and write its line where anybody wants it."""
        self.recent.append((outcome, lesson, finding, broken))
        if logger.isEnabledFor(logging.INFO):
            logger.info(call_line(outcome, lesson, finding, broken, unix_zero=self._unix_zero()))


def call_line(
    call: Outcome, lesson: str, finding: Finding | None = None, broken: Break | None = None, *, unix_zero: float = 0.0
) -> dict[str, object]:
    """Say what became of a call; times in milliseconds since the request's head was complete.

    `finding` is null where nothing was found out by then: where its events had not come, or nobody counted.

    `ended_at` is Unix time, `unix_zero` that at which the clock of calls was 0.
    """
    placement = call.placement

    def since_start_ms(at: float | None) -> float | None:
        return None if at is None else round((at - call.arrived_at) * 1000, 3)

    return {
        "event": "call",
        "request_id": call.request_id,
        "call_id": call.call_id,
        "dialect": call.dialect,
        "model": call.model,
        "max_tokens": call.max_tokens,
        "choices": call.num_choices,
        "status": call.status,
        "reason": call.reason or None,
        "replica": placement.replica,
        "attempt": call.attempt,
        "policy": placement.policy,
        "why": placement.reason,
        "cost_s": {
            "queue": round(placement.terms.queue_s, 6),
            "prefill": round(placement.terms.prefill_s, 6),
            "eviction": round(placement.terms.eviction_s, 6),
            "recent": round(placement.terms.recent_s, 6),
            "transfer": round(placement.terms.transfer_s, 6),
            "total": round(placement.terms.total_s, 6),
            "others": {replica: round(cost_s, 6) for replica, cost_s in placement.costs_s[1:]},
        },
        "predicted": {
            "prompt_tokens": placement.prompt_tokens,
            "is_taught": placement.is_taught,
            "cached_tokens": placement.hit.tokens,
            "source": placement.hit.source,
            "dram_tokens": placement.hit.dram_tokens,
            "disk_tokens": placement.hit.disk_tokens,
        },
        "usage": call.usage,
        "lesson": lesson,
        "finding": finding,
        "prefix_break": None if broken is None else _break(broken),
        "finish_reason": call.finish_reason,
        "read_ms": since_start_ms(call.read_at),
        "placed_ms": since_start_ms(call.booked_at),
        "sent_ms": since_start_ms(call.sent_at),
        "head_ms": since_start_ms(call.head_at),
        "first_byte_ms": since_start_ms(call.first_byte_at),
        "first_token_ms": since_start_ms(call.first_token_at),
        "first_visible_ms": since_start_ms(call.first_visible_at),
        "last_byte_ms": since_start_ms(call.last_byte_at),
        "ended_ms": since_start_ms(call.ended_at),
        "ended_at": round(call.ended_at + unix_zero, 6),
        "body_bytes": call.body_bytes,
    }


def _break(broken: Break) -> dict[str, object]:
    """Where, why and at what cost a prefix was broken."""
    return {
        "conversation": broken.conversation,
        "cause": broken.cause,
        "segment": broken.segment,
        "kind": broken.kind,
        "segment_byte": broken.segment_byte,
        "prompt_byte": broken.prompt_byte,
        "tokens_lost": broken.tokens_lost,
    }
