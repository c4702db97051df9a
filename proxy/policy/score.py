"""The cost of one candidate in predicted seconds; one unit, so that terms can be added and read."""

from __future__ import annotations

from turnwise.settings import PolicySettings
from turnwise.types import ReplicaView, Terms


def score(replica: ReplicaView, prompt_tokens: int, settings: PolicySettings) -> Terms:
    """Predict the seconds that a prompt of `prompt_tokens` costs at `replica`, weighted and split into terms.

    Misses count `miss_weight` times, for recomputing also evicts what others would reuse; docs/decisions/0003 has the figures.
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
    queue_s = settings.queue_weight * (replica.pending_prefill_tokens / rate + replica.num_running * replica.decode_s_per_call)
    prefill_s = settings.miss_weight * uncached_tokens / rate
    recent_s = settings.recent_weight * replica.recent_assigned_s
    total_s = queue_s + prefill_s + eviction_s + recent_s + transfer_s
    return Terms(queue_s, prefill_s, eviction_s, recent_s, transfer_s, total_s)
