"""From what is known of a prompt to a hit for each replica.

Confirmed blocks as calls in flight will leave them, what bridges them, and slower media beyond.
"""

from __future__ import annotations

from turnwise.events import DISK, DRAM
from turnwise.index.asked import NO_HIT, Members
from turnwise.index.known import Known
from turnwise.types import Hit, HitSource, PromptChain, ReplicaId

CONFIRMED, PREDICTED = HitSource.CONFIRMED, HitSource.PREDICTED


def put_hits(
    members: Members,
    known: Known,
    chain: PromptChain,
    length: int,
    since: float,
    since_events: float,
    hits: dict[ReplicaId, Hit],
) -> None:
    """Put the hits of one domain's members on a prompt of `length` tokens into `hits`.

    A prediction counts where it was booked at `since` or later. Where blocks refute it, only what a call that still waits for
    its engine will bring counts, or, where no stamps tell who waits, what was booked at `since_events` or later.
    """
    domain = members.domain
    block_size = domain.block_size or 1
    max_blocks = (length - 1) // block_size if length else 0
    taught, told, lost_blocks, weights = known.taught_blocks, known.confirmed_blocks, known.lost_blocks, members.weights
    depths: dict[int, int] = {}
    if known.chain is not None and members.confirmed:
        depths = domain.index.depths(known.chain.blocks, known.num_blocks, members.confirmed)
        for slot, depth in depths.items():
            replica = members.by_slot[slot]
            hits[replica] = _hit(depth, depth, told, max_blocks, block_size, weights.get(replica))
    first = chain.digests[0]
    for replica, holdings, waiting, run_of, tokens_since in members.replicas:
        run = run_of(first)
        if run is None and not waiting.num_tokens:
            continue
        slot = holdings.block_slot
        depth = depths.get(slot, 0)
        # Where its blocks tell that the replica lacks some of what was taught of this prompt, a prediction only bridges the
        # time until its events come; where they cannot tell, a prediction is all there is.
        is_refuted = depth < taught and slot in members.by_slot and (waiting.is_told or holdings.has_blocks)
        if is_refuted and waiting.is_told and not waiting:
            continue  # nobody waits, so its blocks tell all
        # What will be held once all calls booked so far were looked at: engines evict in the order of predicted runs.
        predicted = 0 if run is None else tokens_since(chain, since, run) // block_size
        if lost_blocks:
            predicted = min(predicted, max(known.num_blocks, predicted - lost_blocks))
        if predicted < depth and waiting.is_told and holdings.room < waiting.num_tokens:
            # Those that wait will evict it from its end, and no more than they need room for.
            depth = max(predicted, depth - waiting.num_tokens // block_size)
        elif is_refuted and predicted > depth:
            predicted = tokens_since(chain, waiting.since if waiting.is_told else since_events, run) // block_size
        hits[replica] = _hit(depth, predicted, told, max_blocks, block_size, weights.get(replica) if weights else None)
    if members.slower:
        _bring_up(members, known, max_blocks, block_size, hits)


def put_predicted(members: Members, chain: PromptChain, length: int, since: float, hits: dict[ReplicaId, Hit]) -> None:
    """Put the hits of members of whose domain nothing was taught into `hits`: what was booked at `since` or later."""
    first, block_size, weights = chain.digests[0], members.domain.block_size or 1, members.weights
    most = (length - 1) // block_size * block_size
    last, hit = 0, NO_HIT  # many replicas hold the same part of a prompt, and share its hit
    for replica, _, _, run_of, tokens_since in members.replicas:
        run = run_of(first)
        if run is not None and (tokens := tokens_since(chain, since, run)):
            if tokens != last:
                last = tokens
                tokens = min(tokens // block_size * block_size, most)
                hit = Hit(tokens, PREDICTED) if tokens > 0 else NO_HIT
            hits[replica] = hit
            if weights and hit.tokens and replica in weights:
                weighed = int(hit.tokens * weights[replica]) // block_size * block_size
                hits[replica] = Hit(weighed, PREDICTED, 0, 0, 0, hit.tokens)


def _hit(depth: int, predicted: int, taught: int, max_blocks: int, block_size: int, weight: float | None) -> Hit:
    """The hit of a replica that holds `depth` believed blocks of a prompt, the first `taught` of them by the engine's word.

    The others are where an estimate put them, or a prediction, of which each is worth `weight`, 1 where that is None.
    """
    blocks = min(max(depth, predicted), max_blocks)
    confirmed = min(depth, taught, blocks)
    if not blocks:
        return NO_HIT
    if blocks == confirmed:
        return Hit(blocks * block_size, CONFIRMED)
    if weight is None:
        return Hit(blocks * block_size, PREDICTED, 0, 0, confirmed * block_size)
    tokens = (confirmed + round((blocks - confirmed) * weight)) * block_size
    return Hit(tokens, PREDICTED, 0, 0, confirmed * block_size, blocks * block_size)


def _bring_up(members: Members, known: Known, max_blocks: int, block_size: int, hits: dict[ReplicaId, Hit]) -> None:
    """Lengthen `hits` by the blocks that follow them in slower media, `max_blocks` of the prompt at most.

    Counted as vLLM's offloading connector does: from the end of what the GPU has, block after block, from whichever slower
    medium has it, up to the first that none of them has. A block further on in the GPU alone does not bridge such a hole.
    """
    end = min(known.num_blocks, max_blocks)
    if known.chain is None:
        return
    for replica, media, slots in members.slower:
        hit = hits[replica]
        start = hit.tokens // block_size
        if start >= end:
            continue
        counts = dict(zip(media, members.domain.index.along(known.chain.blocks, start, end, slots), strict=True))
        dram, disk = counts.get(DRAM, 0), counts.get(DISK, 0)
        if not dram and not disk:
            continue
        reach = start + dram + disk
        is_confirmed = reach <= known.confirmed_blocks and hit.source is not PREDICTED
        source = CONFIRMED if is_confirmed else PREDICTED
        confirmed = 0 if is_confirmed else hit.tokens if hit.source is CONFIRMED else hit.confirmed_tokens
        slower = dram * block_size, disk * block_size
        hits[replica] = Hit(reach * block_size, source, *slower, confirmed, hit.unweighed_tokens)
