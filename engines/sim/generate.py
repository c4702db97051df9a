"""Running a prepared call: its tokens become an answer, whole or streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from turnwise.engines.sim.answers import Counts
from turnwise.engines.sim.core import EngineCore, Generation
from turnwise.engines.sim.prepare import Prepared


class Generator:
    """Runs the calls of one engine; `reports_cached_tokens` is whether usage tells of the cache."""

    def __init__(self, core: EngineCore, *, reports_cached_tokens: bool) -> None:
        self._core = core
        self._reports_cached_tokens = reports_cached_tokens

    async def whole(self, prepared: Prepared) -> bytes:
        """Run a call to its end and give the answer's JSON."""
        generations = self._submit(prepared)
        try:
            for generation in generations:
                async with aclosing(generation.stream()) as stream:
                    async for _said in stream:
                        pass
        finally:
            for generation in generations:
                self._core.abort(generation)
        scripts = [script for group in prepared.scripts for script in group]
        return prepared.writer.whole(scripts, self._counts(prepared, generations))

    async def stream(self, prepared: Prepared) -> AsyncGenerator[bytes, None]:
        """Run a call and give server-sent events as its tokens come; closing the iterator aborts the call."""
        generations = self._submit(prepared)
        writer = prepared.writer
        try:
            for event in writer.begin(prepared.num_prompt):
                yield event
            for index, generation in enumerate(generations):
                base = index * len(generation.sequences)
                async with aclosing(generation.stream()) as stream:
                    async for said in stream:
                        ended = prepared.scripts[index][said.choice] if said.is_last else None
                        for event in writer.say(base + said.choice, said.piece, ended):
                            yield event
            for event in writer.end(self._counts(prepared, generations)):
                yield event
        finally:
            for generation in generations:
                self._core.abort(generation)

    def _submit(self, prepared: Prepared) -> list[Generation]:
        return [
            self._core.submit(
                prompt, scripts, prepared.owner, priority=prepared.priority, reports_reused=prepared.reports_reused
            )
            for prompt, scripts in zip(prepared.prompts, prepared.scripts, strict=True)
        ]

    def _counts(self, prepared: Prepared, generations: list[Generation]) -> Counts:
        cached: int | None = None
        created: int | None = None
        if self._reports_cached_tokens:
            block_size = self._core.scheduler.preset.block_size
            cached = sum(generation.num_cached for generation in generations)
            created = prepared.num_prompt // block_size * block_size - cached
        return Counts(prompt=prepared.num_prompt, completion=prepared.num_completion, cached=cached, created=created)
