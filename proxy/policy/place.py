"""Step 4: one request and one frozen view of the fleet become one placement. Pure; the lease is taken right after."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import xxhash

from turnwise.proxy.policy.score import loss, score
from turnwise.settings import PolicyName, PolicySettings
from turnwise.types import FleetView, Placement, ReplicaId, ReplicaView, Request, SegmentKind, Terms

_FIRST_TURN = frozenset({SegmentKind.USER, SegmentKind.TEXT, SegmentKind.TOKENS})

Policy = Callable[[Request, FleetView, PolicySettings], Placement]


def place(request: Request, view: FleetView, settings: PolicySettings) -> Placement:
    """Choose a replica of `view` for `request` by the policy that `settings` names.

    A call that continues what one replica keeps has no choice: the view holds that replica alone, and the reason says so.
    """
    placement = POLICIES[settings.name](request, view, settings)
    return msgspec.structs.replace(placement, reason="holder") if request.continues else placement


def kv_aware(request: Request, view: FleetView, settings: PolicySettings) -> Placement:
    """Choose the fewest predicted seconds; equal costs go to the least busy, then to whose turn it is."""
    del request
    rows: list[tuple[float, int, int, Terms, ReplicaView]] = []
    lost = loss(view)
    for position, replica in enumerate(_in_turn(view)):
        terms = score(replica, view.prompt_tokens, settings, lost)
        rows.append((terms.total_s, replica.num_running, position, terms, replica))
    rows.sort()  # no two positions are equal, so that nothing behind them is ever compared
    _, _, _, terms, best = rows[0]
    costs = tuple([(row[4].id, row[0]) for row in rows])
    return _placement(best, view, settings, "lowest_cost", terms=terms, costs_s=costs)


def prefix(request: Request, view: FleetView, settings: PolicySettings) -> Placement:
    """Choose the longest predicted match above a threshold, unless load is out of balance (as SGLang's cache-aware router)."""
    del request
    loads = [replica.num_running for replica in view.replicas]
    gap = max(loads) - min(loads)
    if gap > settings.prefix_imbalance_abs and max(loads) > settings.prefix_imbalance_rel * min(loads):
        return _placement(_least_busy(view), view, settings, "out_of_balance")
    best = max(_in_turn(view), key=lambda replica: (replica.hit.tokens, -replica.num_running))
    if best.hit.tokens > settings.prefix_match_threshold * view.prompt_tokens:
        return _placement(best, view, settings, "longest_match")
    return _placement(_least_busy(view), view, settings, "no_match")


def session_hash(request: Request, view: FleetView, settings: PolicySettings) -> Placement:
    """Choose by rendezvous hash of the session, so that a replica's leaving moves only its own sessions.

    Where the client names none, it is known by the prompt up to its first user turn, which a session keeps.
    """
    key = request.session or _beginning(request)
    if key is None:
        return _placement(_least_busy(view), view, settings, "no_session")
    best = max(view.replicas, key=lambda replica: xxhash.xxh3_64_intdigest(f"{key}\x00{replica.id}".encode()))
    return _placement(best, view, settings, "session")


def least_request(request: Request, view: FleetView, settings: PolicySettings) -> Placement:
    """Choose the replica with the fewest running calls."""
    del request
    return _placement(_least_busy(view), view, settings, "least_busy")


def round_robin(request: Request, view: FleetView, settings: PolicySettings) -> Placement:
    """Choose whose turn it is."""
    del request
    return _placement(_in_turn(view)[0], view, settings, "next_in_turn")


POLICIES: Mapping[PolicyName, Policy] = {
    "kv_aware": kv_aware,
    "prefix": prefix,
    "session_hash": session_hash,
    "least_request": least_request,
    "round_robin": round_robin,
}


def _beginning(request: Request) -> str | None:
    """What tells a session by its prompt; None where that holds no turn of a user."""
    if request.prompt is not None and request.chain is not None:
        for kind, digest in zip(request.prompt.kinds, request.chain.digests, strict=True):
            if kind in _FIRST_TURN:
                return digest.hex()
    return None


def _in_turn(view: FleetView) -> list[ReplicaView]:
    """List the candidates, beginning with whose turn it is: stable sorts then break ties fairly."""
    start = view.turn % len(view.replicas)
    return [*view.replicas[start:], *view.replicas[:start]]


def _least_busy(view: FleetView) -> ReplicaView:
    return min(_in_turn(view), key=lambda replica: (replica.num_running, replica.recent_assigned_s))


def _placement(
    replica: ReplicaView,
    view: FleetView,
    settings: PolicySettings,
    reason: str,
    *,
    terms: Terms | None = None,
    costs_s: tuple[tuple[ReplicaId, float], ...] = (),
) -> Placement:
    return Placement(
        replica.id,
        settings.name,
        "only_one" if len(view.replicas) == 1 else reason,
        view.prompt_tokens,
        view.is_taught,
        replica.hit,
        score(replica, view.prompt_tokens, settings) if terms is None else terms,
        costs_s,
    )
