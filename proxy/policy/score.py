"""The cost of one candidate in predicted seconds; one unit, so that terms can be added and read."""

from __future__ import annotations

import math

import msgspec

from turnwise.settings import PolicySettings
from turnwise.types import FleetView, ReplicaView, Terms

MIN_ROOMIER = 2.0
"""How many times longer blocks must live elsewhere for that to keep more of a prompt; less is within the measure's error."""


class Loss(msgspec.Struct, frozen=True, gc=False):
    """Tokens of a prompt that were evicted since its last turn."""

    tokens: int
    turnover_s: float
    """In what time the replica that lost them computes as much as its cache holds."""
    now: float = 0.0


NO_LOSS = Loss(0, math.inf)


def loss(view: FleetView) -> Loss:
    """What of a prompt was evicted since its last turn: engines have computed it, and no replica holds it any more.

    Where nobody holds any of it, the replica that lost it is not known, and where that one had never to evict, it was not
    crowding that took it: then all candidates are alike.
    """
    if not view.computed_tokens:
        return NO_LOSS
    most = max([replica.hit.tokens for replica in view.replicas])
    tokens = view.computed_tokens - most
    if not most or tokens <= 0:
        return NO_LOSS
    since = max([replica.refilled_since for replica in view.replicas if replica.hit.tokens == most])
    return NO_LOSS if since == -math.inf else Loss(tokens, view.now - since, view.now)


def score(replica: ReplicaView, prompt_tokens: int, settings: PolicySettings, lost: Loss = NO_LOSS) -> Terms:
    """Predict the seconds that a prompt of `prompt_tokens` costs at `replica`, weighted and split into terms.

    Misses count `miss_weight` times, for recomputing also evicts what others would reuse. What was `lost` will be lost in each
    coming turn, but for replicas where blocks live longer. docs/decisions/0003 has the figures.
    """
    hit = replica.hit
    # `max` would take as long as a third of this function.
    uncached_tokens = added_tokens = prompt_tokens - hit.tokens if prompt_tokens > hit.tokens else 0
    rate = replica.prefill_tokens_per_s
    transfer_s = 0.0
    if hit.dram_tokens or hit.disk_tokens:
        media = replica.media
        transfer_s = hit.dram_tokens / media.dram_tokens_per_s + hit.disk_tokens / media.disk_tokens_per_s
        added_tokens += hit.dram_tokens + hit.disk_tokens
    eviction_s = 0.0
    if replica.free_tokens is not None and added_tokens > replica.free_tokens:
        # Tokens that do not fit beside the running calls make somebody wait or be recomputed.
        eviction_s = (added_tokens - replica.free_tokens) / rate
    if lost.tokens:
        turnover_s, as_crowded_s = lost.now - replica.refilled_since, MIN_ROOMIER * lost.turnover_s
        crowding = 1.0 if turnover_s <= as_crowded_s else as_crowded_s / turnover_s
        eviction_s += settings.turns_ahead * crowding * lost.tokens / rate
    queue_s = settings.queue_weight * (replica.pending_prefill_tokens / rate + replica.num_running * replica.decode_s_per_call)
    prefill_s = settings.miss_weight * uncached_tokens / rate
    recent_s = settings.recent_weight * replica.recent_assigned_s
    total_s = queue_s + prefill_s + eviction_s + recent_s + transfer_s
    return Terms(queue_s, prefill_s, eviction_s, recent_s, transfer_s, total_s)
