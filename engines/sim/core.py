"""The engine's loop: plan a step, wait as long as it takes, hand out its tokens and events.

It waits only on timers and queues of the running loop, so a real and a virtual clock drive the same code.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from itertools import count

import msgspec

from turnwise.engines.sim.blocks import BlockOwner, CacheEvent
from turnwise.engines.sim.cost import Preset
from turnwise.engines.sim.metrics import Histogram
from turnwise.engines.sim.scheduler import Scheduler, Sequence
from turnwise.engines.sim.script import Piece, Script

MAX_LAG_S = 0.05
"""How far steps may run ahead of a late timer to keep their average pace; beyond it lost time is lost."""


class EngineStopped(RuntimeError):
    """The engine's process has ended, and with it every call under way."""

    def __init__(self) -> None:
        super().__init__("the engine has stopped")


class Said(msgspec.Struct, frozen=True):
    """One token of one choice of a call."""

    choice: int
    piece: Piece
    is_last: bool


class Stats:
    """Counters since the engine started; tokens and requests as named, times in seconds on the loop's clock."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.finished: Counter[str] = Counter()
        self.first_token_s = Histogram()
        self.end_to_end_s = Histogram()


class Generation:
    """One call under way: its choices run as sequences of their own and are heard in one stream."""

    def __init__(self, sequences: tuple[Sequence, ...], core: EngineCore) -> None:
        self.sequences = sequences
        self.said: asyncio.Queue[Said | None] = asyncio.Queue()
        self._core = core

    @property
    def num_cached(self) -> int:
        """Prompt tokens that the first choice found in the cache; 0 until it is admitted."""
        return self.sequences[0].num_cached or 0

    async def stream(self) -> AsyncGenerator[Said, None]:
        """Tokens as they come; leaving early aborts what is left."""
        left = len(self.sequences)
        try:
            while left:
                said = await self.said.get()
                if said is None:
                    raise EngineStopped
                left -= said.is_last
                yield said
        finally:
            if left:
                self._core.abort(self)


class EngineCore:
    """Scheduler, clock and counters of one engine. `publish` gets the cache events of each step, if there are any."""

    def __init__(self, preset: Preset, *, speed: float, publish: Callable[[list[CacheEvent]], None]) -> None:
        self.scheduler = Scheduler(preset)
        self.stats = Stats()
        self._speed = speed
        self._publish = publish
        self._order = count()
        self._wake = asyncio.Event()
        self._has_stopped = False
        self._live: dict[Sequence, tuple[Generation, int, float]] = {}

    def submit(
        self, prompt: array[int], scripts: tuple[Script, ...], owner: BlockOwner, *, priority: int, reports_reused: bool
    ) -> Generation:
        """Queue one call with one script for each choice; lower `priority` goes first.

        Raises `EngineStopped` once it has.
        """
        if self._has_stopped:
            raise EngineStopped
        sequences = tuple(Sequence(prompt, script, owner, (priority, next(self._order))) for script in scripts)
        generation = Generation(sequences, self)
        now = asyncio.get_running_loop().time()
        for choice, sequence in enumerate(sequences):
            sequence.reports_reused = reports_reused
            self._live[sequence] = (generation, choice, now)
            self.scheduler.add(sequence)
        self.stats.prompt_tokens += len(prompt)
        self._wake.set()
        return generation

    def abort(self, generation: Generation) -> None:
        """Drop whatever of a call still runs; a call that has ended is left alone."""
        for sequence in generation.sequences:
            if self._live.pop(sequence, None) is not None:
                self.scheduler.abort(sequence)
                self.stats.finished["abort"] += 1
        self._wake.set()

    async def run(self) -> None:
        """Step for ever; when cancelled, every call under way is told."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                while not self.scheduler.has_work:
                    self._wake.clear()
                    await self._wake.wait()
                    due = loop.time()  # who was idle is not late
                plan = self.scheduler.plan()
                due = max(due, loop.time() - MAX_LAG_S) + plan.seconds / self._speed
                await asyncio.sleep(max(0.0, due - loop.time()))
                emissions = self.scheduler.complete(plan)
                self._flush_events()
                for emission in emissions:
                    self._deliver(emission.sequence, emission.piece, loop.time(), is_last=emission.is_last)
        finally:
            self._has_stopped = True
            for generation, _choice, _since in self._live.values():
                generation.said.put_nowait(None)

    def lose_cache(self) -> None:
        """Forget all that is cached, the CPU tier's blocks too, and tell nobody; calls under way go on with what they hold."""
        self.scheduler.pool.lose()
        if self.scheduler.tier is not None:
            self.scheduler.tier.lose()

    def reset_cache(self, *, with_tier: bool) -> bool:
        """Drop what is cached and say so with the next step's events, as vLLM does; False while any block is in use."""
        is_reset = self.scheduler.pool.clear()
        if with_tier and self.scheduler.tier is not None:
            self.scheduler.tier.clear()
        return is_reset

    def _flush_events(self) -> None:
        if events := self.scheduler.take_events():
            self._publish(events)

    def _deliver(self, sequence: Sequence, piece: Piece, now: float, *, is_last: bool) -> None:
        generation, choice, since = self._live[sequence]
        self.stats.generation_tokens += 1
        if sequence.num_emitted == 1:
            self.stats.first_token_s.observe(now - since)
        if is_last:
            del self._live[sequence]
            self.stats.finished[sequence.script.finish_reason] += 1
            self.stats.end_to_end_s.observe(now - since)
        generation.said.put_nowait(Said(choice, piece, is_last))
