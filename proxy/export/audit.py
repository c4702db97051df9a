"""The one log line of each call: a JSON object that says where it went, why, and how long each part took."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from turnwise.types import Outcome

logger = logging.getLogger("turnwise.calls")


class JsonLines(logging.Formatter):
    """Formats every record as one JSON object; a dict as message becomes its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if isinstance(record.msg, dict):
            line |= record.msg
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class Audit:
    """Writes call lines; builds each at most once."""

    def attempt_failed(self, outcome: Outcome) -> None:
        """Write that an attempt failed and another replica is tried."""
        fault = outcome.fault
        logger.warning(
            {
                "event": "attempt_failed",
                "request_id": outcome.request.request_id,
                "replica": outcome.placement.replica,
                "attempt": outcome.attempt,
                "reason": None if fault is None else fault.reason,
                "message": None if fault is None else fault.message,
            }
        )

    def call_ended(self, outcome: Outcome, lesson: str) -> dict[str, object]:
        """Write the line of a call and return it."""
        line = call_line(outcome, lesson)
        logger.info(line)
        return line


def call_line(outcome: Outcome, lesson: str) -> dict[str, object]:
    """Say what became of a call; times in milliseconds since the request's head was complete."""
    request, placement, usage = outcome.request, outcome.placement, outcome.usage

    def since_start_ms(at: float | None) -> float | None:
        return None if at is None else round((at - request.arrived_at) * 1000, 3)

    reason = None if outcome.fault is None else str(outcome.fault.reason)
    return {
        "event": "call",
        "request_id": request.request_id,
        "call_id": request.call_id,
        "dialect": request.dialect,
        "model": request.model,
        "max_tokens": request.max_tokens,
        "choices": request.num_choices,
        "status": outcome.status,
        "reason": "client_gone" if outcome.is_client_gone else reason,
        "replica": placement.replica,
        "attempt": outcome.attempt,
        "policy": placement.policy,
        "why": placement.reason,
        "cost_s": {
            "queue": round(placement.terms.queue_s, 6),
            "prefill": round(placement.terms.prefill_s, 6),
            "eviction": round(placement.terms.eviction_s, 6),
            "recent": round(placement.terms.recent_s, 6),
            "total": round(placement.terms.total_s, 6),
            "others": {replica: round(cost_s, 6) for replica, cost_s in placement.costs_s[1:]},
        },
        "predicted": {
            "prompt_tokens": placement.prompt_tokens,
            "is_taught": placement.is_taught,
            "cached_tokens": placement.hit.tokens,
            "source": placement.hit.source,
        },
        "usage": usage,
        "lesson": lesson,
        "finish_reason": outcome.finish_reason,
        "read_ms": since_start_ms(request.read_at),
        "placed_ms": since_start_ms(outcome.booked_at),
        "sent_ms": since_start_ms(outcome.sent_at),
        "head_ms": since_start_ms(outcome.head_at),
        "first_byte_ms": since_start_ms(outcome.first_byte_at),
        "first_token_ms": since_start_ms(outcome.first_token_at),
        "first_visible_ms": since_start_ms(outcome.first_visible_at),
        "last_byte_ms": since_start_ms(outcome.last_byte_at),
        "ended_ms": since_start_ms(outcome.ended_at),
        "body_bytes": outcome.body_bytes,
    }


def set_up(level: str) -> None:
    """Write every log record to standard error as a JSON line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These write a line for each control call.
    for noisy in ("httpx", "httpcore", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
