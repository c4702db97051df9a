"""The closed list of what Turnwise changes in passing (docs/edits.md); every other byte and header goes through as it came."""

from __future__ import annotations

from turnwise import names
from turnwise.dialects.splice import with_report
from turnwise.proxy.programs import Turn
from turnwise.proxy.programs.spans import attempt_span
from turnwise.proxy.wire.ports import Outgoing, ResponseHead
from turnwise.settings import Edits, Replica
from turnwise.types import Placement, Request

_DROPPED = (names.HEADER_DEBUG,)
_DROPPED_WITH_TRACE = (names.HEADER_DEBUG, names.HEADER_BAGGAGE)


def outgoing(
    request: Request, turn: Turn | None, attempt: int, replica: Replica, *, asks_report: bool, edits: Edits
) -> Outgoing:
    """Build the request for a replica: the client's headers with ours put in their place.

    `asks_report` is whether it is asked to announce again what it has cached of the prompt.
    """
    changes: dict[bytes, bytes] = {}
    drops: tuple[bytes, ...] = _DROPPED
    if edits.request_id:
        changes[names.HEADER_REQUEST_ID] = request.request_id.encode()
    if edits.accept_encoding:
        # Answers are relayed as they come, and an encoded one could not be watched.
        changes[b"accept-encoding"] = b"identity"
    if edits.session_stamp and replica.stamp and request.chain is not None:
        changes[names.HEADER_STAMP] = request.call_id.encode()
    if turn is not None and edits.traceparent:
        key = turn.key
        span = attempt_span(request.call_id, attempt).hex()
        changes[names.HEADER_TRACEPARENT] = f"00-{key.trace_id.hex()}-{span}-0{int(key.is_sampled)}".encode()
        drops = _DROPPED_WITH_TRACE
    body = (with_report(request.body) or request.body) if asks_report else request.body
    return Outgoing(request.method, request.target, request.headers, changes, body, request.is_stream, drops)


def answer_head(request: Request, placement: Placement | None, head: ResponseHead) -> ResponseHead:
    """Build the head for the client: the replica's, with `x-request-id` and, where wanted, why the call went where it went."""
    changes = {names.HEADER_REQUEST_ID: request.request_id.encode()}
    if placement is not None and request.wants_debug:
        changes[names.HEADER_PLACEMENT] = explain(placement).encode()
    return ResponseHead(head.status, head.phrase, head.headers, head.length, changes)


def explain(placement: Placement) -> str:
    """Say in one line why a placement was made: `replica=a policy=kv_aware ... cost_s=0.412 queue_s=...`."""
    terms = placement.terms
    others = ",".join(f"{replica}:{cost_s:.4f}" for replica, cost_s in placement.costs_s[1:])
    return (
        f"replica={placement.replica} policy={placement.policy} reason={placement.reason}"
        f" prompt_tokens={placement.prompt_tokens} is_taught={str(placement.is_taught).lower()}"
        f" hit_tokens={placement.hit.tokens} hit_source={placement.hit.source}"
        f" cost_s={terms.total_s:.4f} queue_s={terms.queue_s:.4f} prefill_s={terms.prefill_s:.4f}"
        f" eviction_s={terms.eviction_s:.4f} recent_s={terms.recent_s:.4f} transfer_s={terms.transfer_s:.4f}"
        f" others={others or '-'}"
    )
