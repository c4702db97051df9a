"""Running a prepared call: its tokens become an answer, whole or streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from turnwise.engines.sim.answers import SSE_DONE, sse
from turnwise.engines.sim.core import EngineCore, Generation
from turnwise.engines.sim.prepare import Prepared


class Generator:
    """Runs the calls of one engine."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core

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
        answer = prepared.frame.envelope(
            [prepared.frame.whole(choice, script) for choice, script in enumerate(scripts)], is_chunk=False
        )
        answer["usage"] = self._usage(prepared, generations)
        return msgspec.json.encode(answer)

    async def stream(self, prepared: Prepared) -> AsyncGenerator[bytes, None]:
        """Run a call and give server-sent events as its tokens come; closing the iterator aborts the call."""
        generations = self._submit(prepared)
        frame = prepared.frame
        opened: set[int] = set()
        try:
            for index, generation in enumerate(generations):
                base = index * len(generation.sequences)
                async with aclosing(generation.stream()) as stream:
                    async for said in stream:
                        choice = base + said.choice
                        if frame.is_chat and choice not in opened:
                            opened.add(choice)
                            yield sse(frame.first_chunk(choice))
                        reason = prepared.scripts[index][said.choice].finish_reason if said.is_last else None
                        chunk = frame.chunk(choice, said.piece, reason)
                        if chunk is not None:
                            yield sse(chunk)
            if prepared.wants_usage:
                yield sse({**frame.envelope([], is_chunk=True), "usage": self._usage(prepared, generations)})
            yield SSE_DONE
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

    def _usage(self, prepared: Prepared, generations: list[Generation]) -> dict[str, object]:
        num_cached = sum(generation.num_cached for generation in generations)
        return prepared.frame.usage(
            prepared.num_prompt, prepared.num_completion, num_cached, self._core.scheduler.preset.block_size
        )
