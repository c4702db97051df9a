"""Calls in flight: what each was sent by, what the index said when its engine looked, and what the engine found."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import msgspec

from turnwise.events import GPU, BlocksStored
from turnwise.index.asked import NO_HIT
from turnwise.index.closed_loop import Finding, Verdict, judge
from turnwise.index.holdings import Holdings
from turnwise.index.known import Known
from turnwise.index.losses import SLACK_TOKENS
from turnwise.index.values import Report
from turnwise.types import BlockHash, CallId, Hit, HitSource, PromptChain, ReplicaId

MAX_CALLS = 16_384
"""Calls followed at once: 64 replicas with 256 calls each."""

CALL_TTL_S = 3600.0
"""How long a call is followed: what its sibling never settled is not followed for ever."""

UNHEARD_TTL_S = 30.0
"""How long a settled call waits for the event that tells when its engine looked: events race the answer by milliseconds."""

USUAL_BLOCK_SIZE = 16
"""Tokens by which a belief may be off where the engine's block size is not known."""

_EVICTED = Verdict.EVICTED_WHILE_WAITING


class Call(msgspec.Struct, gc=False, eq=False):
    """One call between its booking and its finding."""

    chain: PromptChain
    replica: ReplicaId
    predicted: Hit | None
    """What the decision went by, None where a sibling decided."""
    booked_at: float
    is_scheduled: bool = False
    """Whether an event has told that its engine looked."""
    scheduled_tokens: int | None = None
    """What the index said of its prompt then; None where the prompt was not taught."""
    taught_tokens: int = 0
    """How much of the prompt was known then by the engine's word; the rest was an estimate."""
    report: Report | None = None
    """What the engine said, once it has answered."""
    settled_at: float = 0.0


class Calls:
    """All of them, by id; the one booked longest ago is forgotten where there are too many.

    `on_weight` is told when the weight of one of the `replicas`' sources has moved.
    """

    def __init__(self, replicas: Mapping[ReplicaId, Holdings], on_weight: Callable[[], None]) -> None:
        self.weighed: dict[ReplicaId, Holdings] = {}
        """Replicas whose hits are not what they seem: a source weighs less than 1, the engine drops the last block, or some of
        it is in a tier of which no event tells."""
        self._replicas = replicas
        self._on_weight = on_weight
        self._calls: OrderedDict[str, Call] = OrderedDict()
        self._unheard: OrderedDict[str, Call] = OrderedDict()

    def book(
        self, call_id: CallId, chain: PromptChain, holdings: Holdings, prompt_tokens: int, predicted: Hit | None, now: float
    ) -> None:
        """Follow a call that goes to the replica of `holdings`, and waits there until its engine looks."""
        self._calls[call_id] = Call(chain, holdings.replica, predicted, now)
        if holdings.has_events:
            holdings.waiting.add(call_id, prompt_tokens if predicted is None else prompt_tokens - predicted.tokens, now)
        if len(self._calls) > MAX_CALLS:
            self.drop(next(iter(self._calls)))

    def drop(self, call_id: str) -> None:
        """Follow a call no longer."""
        call = self._calls.pop(call_id, None)
        if call is None:
            return
        if call.report is not None:
            self._unheard.pop(call_id, None)
        if not call.is_scheduled and (holdings := self._replicas.get(call.replica)) is not None:
            holdings.waiting.leave(call_id)

    def look(self, call_id: str, holdings: Holdings, event: BlocksStored) -> None:
        """The engine of `holdings` is about to say in `event` what it stored for a call: note what is known of its prompt.

        An engine publishes in the order in which it looks: what it evicted for a call, which is none of what it had found for
        it, and then what it stores for it. So this is what it saw.
        """
        call = self._calls.get(call_id)
        if call is None or call.is_scheduled or call.replica != holdings.replica or event.medium != GPU:
            return
        call.is_scheduled = holdings.waiting.is_told = True
        holdings.waiting.leave(call_id)
        known = holdings.domain.resolve(call.chain)
        if known.is_taught and holdings.can_teach and holdings.is_trusted:
            call.scheduled_tokens = _held_tokens(holdings, known, call.predicted, event.parent)
            call.taught_tokens = known.confirmed_blocks * (holdings.domain.block_size or 1)
        if call.report is not None:
            self.drop(call_id)
            self._conclude(call, holdings, call.report)

    def settle(self, call_id: CallId, holdings: Holdings, report: Report, now: float) -> Finding | None:
        """A call was answered; its finding, or None where nothing can be found out, or an event must come first."""
        call = self._calls.pop(call_id, None)
        if call is None:
            return None
        if holdings.has_events and not call.is_scheduled:
            holdings.waiting.leave(call_id)
            if _has_stored(report, holdings):
                call.report, call.settled_at = report, now
                self._calls[call_id] = self._unheard[call_id] = call
                return None
        return self._conclude(call, holdings, report)

    def sweep(self, now: float, max_calls: int, predicted_ttl_s: float) -> int:
        """Give up calls that have waited too long for the engine, their event or their answer.

        Returns how many of `max_calls` are not spent; what waits for an engine goes with what was predicted of it.
        """
        for holdings in self._replicas.values():
            holdings.waiting.expire(now - predicted_ttl_s)
        while max_calls > 0 and self._expire(now):
            max_calls -= 1
        return max_calls

    def _expire(self, now: float) -> bool:
        """Give up one call that has waited too long for its event, or its answer; returns whether there was one."""
        for call_id, call in self._unheard.items():
            if call.settled_at > now - UNHEARD_TTL_S:
                break
            self.drop(call_id)
            holdings = self._replicas.get(call.replica)
            if holdings is not None and call.report is not None:
                self._conclude(call, holdings, call.report)
            return True
        for call_id, call in self._calls.items():
            if call.booked_at > now - CALL_TTL_S:
                break
            self.drop(call_id)
            return True
        return False

    def weigh(self, chain: PromptChain, hits: dict[ReplicaId, Hit]) -> None:
        """Scale confirmed hits of replicas whose events have misled; what is predicted is weighed as it is put together.

        And take off the block that an engine drops, and say what must come from a tier of which no event tells.
        """
        for replica, holdings in self.weighed.items():
            hit = hits.get(replica)
            if hit is None:
                continue
            if holdings.loop.last_block.is_dropped:
                hit = hits[replica] = _without_last(hit, holdings.domain.block_size or USUAL_BLOCK_SIZE)
            if hit.tokens and holdings.has_hidden_tier:
                below = max(0, hit.tokens - holdings.predicted.tokens_within(chain, holdings.capacity.stated or 0))
                hit = hits[replica] = Hit(hit.tokens, hit.source, below, 0, 0, hit.unweighed_tokens)
            weight = holdings.loop.confirmed.weight
            if weight != 1.0 and hit.source is HitSource.CONFIRMED:
                slower = int(hit.dram_tokens * weight), int(hit.disk_tokens * weight)
                hits[replica] = Hit(int(hit.tokens * weight), hit.source, *slower)

    def reweigh(self, holdings: Holdings) -> None:
        """Take in that the weight of one of a replica's sources has moved."""
        holdings.is_distrusted = holdings.loop.confirmed.is_distrusted
        if holdings.loop.is_weighed or holdings.has_hidden_tier:
            self.weighed[holdings.replica] = holdings
        else:
            self.weighed.pop(holdings.replica, None)
        self._on_weight()

    def weigh_predicted(self, holdings: Holdings, expected: int, found: int) -> None:
        """Weigh predictions of a replica without events by tokens that should have been found, and those that were.

        What it has evicted should not have been found.
        """
        if holdings.loop.predicted.trust(expected, found, SLACK_TOKENS):
            self.reweigh(holdings)

    def _conclude(self, call: Call, holdings: Holdings, report: Report) -> Finding | None:
        """Compare what was believed of a call with what its engine found, and weigh the sources by it."""
        found, prompt_tokens, predicted = report.cached_tokens, report.prompt_tokens, call.predicted
        if found is None or prompt_tokens is None:
            return None
        loop, scheduled = holdings.loop, call.scheduled_tokens
        block_size = holdings.domain.block_size or USUAL_BLOCK_SIZE
        was_dropped = loop.last_block.is_dropped
        if scheduled is not None:
            scheduled = min(scheduled, (prompt_tokens - 1) // block_size * block_size)
            if loop.last_block.note(scheduled, found, block_size):
                self.reweigh(holdings)
            if was_dropped:
                scheduled = max(0, scheduled - block_size)
            if loop.confirmed.trust(min(scheduled, call.taught_tokens), found, block_size):
                self.reweigh(holdings)
        if predicted is None:
            return None
        if not holdings.has_events and predicted.tokens:
            believed = (predicted.unweighed_tokens or predicted.tokens) + block_size * was_dropped
            if loop.last_block.note(believed, found, block_size):
                self.reweigh(holdings)
        finding = Finding(judge(predicted.tokens, scheduled, found, block_size), scheduled)
        if holdings.has_events and finding.verdict is not _EVICTED and (guessed := predicted.guessed_tokens):
            known = predicted.confirmed_tokens + predicted.dram_tokens + predicted.disk_tokens
            if loop.predicted.trust(guessed, max(0, found - known), block_size):
                self.reweigh(holdings)
        loop.of(predicted.source).note(prompt_tokens, predicted.tokens, found, finding)
        return finding


def _without_last(hit: Hit, block_size: int) -> Hit:
    """A hit less its last block, which lies in the slowest medium that has any of it."""
    tokens = hit.tokens - block_size
    if tokens <= 0:
        return NO_HIT
    dram, disk = hit.dram_tokens, hit.disk_tokens
    if disk:
        disk -= block_size
    elif dram:
        dram -= block_size
    unweighed = hit.unweighed_tokens - block_size if hit.unweighed_tokens else 0
    return Hit(tokens, hit.source, dram, disk, min(hit.confirmed_tokens, tokens), unweighed)


def _held_tokens(holdings: Holdings, known: Known, predicted: Hit | None, parent: BlockHash | None) -> int:
    """Tokens of a prompt that a replica is known to hold: what was `predicted`, where all says so, else as the index says.

    What an engine stores first for a call hangs on the last block that it found. So where that is where the prediction ended,
    and the replica holds that block and not the next, nothing has changed since the decision looked it up.
    """
    if known.chain is None:
        return 0
    blocks, num_blocks = known.chain.blocks, known.num_blocks
    index, slot, block_size = holdings.domain.index, holdings.block_slot, holdings.domain.block_size or 1
    depth = 0 if predicted is None else predicted.tokens // block_size
    if (
        0 < depth <= num_blocks
        and not holdings.slower
        and blocks[depth - 1] == parent
        and index.holds(slot, parent)
        and (depth == num_blocks or not index.holds(slot, BlockHash(blocks[depth])))
    ):
        return depth * block_size
    depth = index.depths(blocks, num_blocks, 1 << slot).get(slot, 0)
    if holdings.slower:
        depth += sum(index.along(blocks, depth, num_blocks, tuple(holdings.slower.values())))
    return depth * block_size


def _has_stored(report: Report, holdings: Holdings) -> bool:
    """Whether the engine filled a block for the prompt of a call that it reported on, and so will say so."""
    prompt_tokens, cached_tokens, block_size = report.prompt_tokens, report.cached_tokens, holdings.domain.block_size
    return (
        prompt_tokens is not None
        and cached_tokens is not None
        and block_size is not None
        and cached_tokens // block_size < prompt_tokens // block_size
        and not holdings.is_stale
    )
