"""Which tokens each step computes: continuous batching with chunked prefill, priorities, and preemption by recomputation.

Pure: it knows no clock. A step is `plan`, then (after the time that `StepPlan.seconds` says) `complete`. Blocks become findable
when their step is planned, as in vLLM, so that two prompts of one step share a prefix.
"""

from __future__ import annotations

import heapq
from array import array
from enum import StrEnum

import msgspec

from turnwise.engines.sim.blocks import BlockOwner, BlockPool, CacheEvent, CpuTier, Stored, extend_hashes
from turnwise.engines.sim.cost import Preset
from turnwise.engines.sim.script import Piece, Script


class Phase(StrEnum):
    """Where a sequence stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


class Sequence:
    """One prompt on its way to one answer. Lower `rank` goes first: priority, then order of arrival."""

    def __init__(self, prompt: array[int], script: Script, owner: BlockOwner, rank: tuple[int, int]) -> None:
        self.tokens = array("I", prompt)
        self.num_prompt = len(prompt)
        self.script = script
        self.owner = owner
        self.rank = rank
        self.reports_reused = False
        """Whether blocks found in the cache are told of under this sequence's stamp."""
        self.phase = Phase.WAITING
        self.is_aborted = False
        self.num_computed = 0
        self.num_cached: int | None = None
        """Prompt tokens found in the cache, its CPU tier included, at first admission."""
        self.blocks: list[int] = []
        self.hashes: list[int] = []
        self.num_stored = 0

    @property
    def num_emitted(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - self.num_prompt

    def __lt__(self, other: Sequence) -> bool:
        return self.rank < other.rank


class Work(msgspec.Struct, frozen=True):
    """Tokens of one sequence that a step computes, after as many as `num_loaded` have come back from the CPU tier."""

    sequence: Sequence
    num_tokens: int
    num_loaded: int = 0


class StepPlan(msgspec.Struct, frozen=True):
    """One step: its work and its unscaled duration."""

    work: tuple[Work, ...]
    seconds: float


class Emission(msgspec.Struct, frozen=True):
    """One generated token; `is_last` ends its sequence."""

    sequence: Sequence
    piece: Piece
    is_last: bool


class Scheduler:
    """Waiting and running sequences of one engine, and its blocks."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.tier = CpuTier(preset.offload_blocks) if preset.offload_blocks else None
        self.pool = BlockPool(preset.num_blocks, preset.block_size, self.tier)
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self.num_queried_tokens = 0
        self.num_hit_tokens = 0
        self._waiting: list[Sequence] = []

    @property
    def num_waiting(self) -> int:
        """Sequences that hold no blocks yet."""
        return len(self._waiting)

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.running or self._waiting)

    def take_events(self) -> list[CacheEvent]:
        """What the cache did since this was asked last: the pool first, then its CPU tier."""
        events, self.pool.events = self.pool.events, []
        if self.tier is not None:
            events += self.tier.events
            self.tier.events = []
        return events

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence; its prompt fits the pool, as the caller has checked against `max_model_len`."""
        heapq.heappush(self._waiting, sequence)

    def abort(self, sequence: Sequence) -> None:
        """Drop a sequence: at once where it waits, at the end of the step under way where it runs."""
        sequence.is_aborted = True
        if sequence.phase is Phase.WAITING and sequence in self._waiting:
            self._waiting.remove(sequence)
            heapq.heapify(self._waiting)
            sequence.phase = Phase.DONE

    def plan(self) -> StepPlan:
        """Choose the work of the next step and take the blocks for it; empty where nothing can run."""
        for sequence in [sequence for sequence in self.running if sequence.is_aborted]:
            self._end(sequence)
        work: list[Work] = []
        budget = self.preset.max_batch_tokens
        before = self.num_preemptions
        for sequence in sorted(self.running):
            if sequence.phase is not Phase.RUNNING or budget == 0:
                continue
            wanted = min(len(sequence.tokens) - sequence.num_computed, budget)
            if self._make_room(sequence, wanted):
                self._schedule(sequence, wanted, work)
                budget -= wanted
        if self.num_preemptions == before:
            self._admit(budget, work)
        return StepPlan(tuple(work), self._seconds(work))

    def complete(self, plan: StepPlan) -> list[Emission]:
        """Book a step's work as done; gives the tokens that it generated."""
        emissions: list[Emission] = []
        for item in plan.work:
            sequence = item.sequence
            sequence.num_computed += item.num_tokens
            if sequence.is_aborted:
                self._end(sequence)
            elif sequence.num_computed == len(sequence.tokens):
                piece = sequence.script.pieces[sequence.num_emitted]
                sequence.tokens.append(piece.token)
                is_last = sequence.num_emitted == len(sequence.script.pieces)
                if is_last:
                    self._end(sequence)
                emissions.append(Emission(sequence, piece, is_last))
        return emissions

    def _admit(self, budget: int, work: list[Work]) -> None:
        block_size = self.preset.block_size
        while budget > 0 and self._waiting and len(self.running) < self.preset.max_num_seqs:
            sequence = self._waiting[0]
            extend_hashes(sequence.hashes, sequence.tokens, block_size, sequence.owner.root)
            # The last token is always computed: its logits are what the next token is drawn from.
            limit = (len(sequence.tokens) - 1) // block_size
            cached = self.pool.match(sequence.hashes, limit)
            if self.preset.drops_last_block:
                del cached[-1:]
            num_loaded = self.tier.match(sequence.hashes, len(cached), limit) if self.tier is not None else 0
            if sequence.reports_reused and cached:
                # Told at each try to admit it, and before what that evicts and stores, as vLLM does.
                self.pool.events.append(self._stored(sequence, 0, len(cached)))
            num_cached = (len(cached) + num_loaded) * block_size
            wanted = min(len(sequence.tokens) - num_cached, budget)
            needed = -(-(num_cached + wanted) // block_size) - len(cached)
            if needed > self.pool.num_free_beside(cached):
                return
            heapq.heappop(self._waiting)
            self.pool.reuse(cached)
            self._start(sequence, cached, num_loaded)
            self._schedule(sequence, wanted, work, num_loaded=num_loaded * block_size)
            budget -= wanted

    def _start(self, sequence: Sequence, cached: list[int], num_loaded: int) -> None:
        block_size = self.preset.block_size
        num_cached = (len(cached) + num_loaded) * block_size
        sequence.phase = Phase.RUNNING
        sequence.blocks = cached
        sequence.num_computed = num_cached
        sequence.num_stored = len(cached)
        if sequence.num_cached is None:
            sequence.num_cached = num_cached
            self.num_queried_tokens += sequence.num_prompt
            self.num_hit_tokens += len(cached) * block_size
        if num_loaded:
            sequence.blocks = cached + self.pool.allocate(num_loaded)
            self._store(sequence, num_cached)
        self.running.append(sequence)

    def _make_room(self, sequence: Sequence, wanted: int) -> bool:
        """Preempt the last in rank until `sequence` has its blocks; False where it was itself the last.

        Work is planned in order of rank, so a victim has none in this step yet.
        """
        while self._num_missing(sequence, wanted) > self.pool.num_free:
            victim = max(self.running)
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _schedule(self, sequence: Sequence, wanted: int, work: list[Work], *, num_loaded: int = 0) -> None:
        sequence.blocks += self.pool.allocate(self._num_missing(sequence, wanted))
        self._store(sequence, sequence.num_computed + wanted)
        work.append(Work(sequence, wanted, num_loaded))

    def _num_missing(self, sequence: Sequence, wanted: int) -> int:
        return max(0, -(-(sequence.num_computed + wanted) // self.preset.block_size) - len(sequence.blocks))

    def _store(self, sequence: Sequence, num_computed: int) -> None:
        block_size = self.preset.block_size
        first, end = sequence.num_stored, num_computed // block_size
        if end <= first:
            return
        extend_hashes(sequence.hashes, sequence.tokens, block_size, sequence.owner.root)
        self.pool.store(sequence.blocks[first:end], self._stored(sequence, first, end))
        sequence.num_stored = end

    def _stored(self, sequence: Sequence, first: int, end: int) -> Stored:
        block_size = self.preset.block_size
        return Stored(
            hashes=tuple(sequence.hashes[first:end]),
            parent=sequence.hashes[first - 1] if first else None,
            first=first,
            tokens=sequence.tokens[first * block_size : end * block_size],
            owner=sequence.owner,
        )

    def _preempt(self, sequence: Sequence) -> None:
        self.num_preemptions += 1
        self._end(sequence)
        sequence.phase = Phase.WAITING
        heapq.heappush(self._waiting, sequence)

    def _end(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.pool.release(sequence.blocks)
        sequence.blocks = []
        sequence.num_computed = 0
        sequence.phase = Phase.DONE

    def _seconds(self, work: list[Work]) -> float:
        if not work:
            return 0.0
        cost = self.preset.cost
        seconds = cost.step_s
        for item in work:
            seconds += item.num_loaded * cost.load_token_s
            context = item.sequence.num_computed
            if context >= item.sequence.num_prompt:
                seconds += cost.decode_s(context)
            else:
                seconds += cost.prefill_s(item.num_tokens, context)
        return seconds
