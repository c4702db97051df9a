"""Chat templates that break prefixes: how often a wrong belief is acted upon, and whether any is acted upon twice.

The caches are ample and calls come one after another, so whatever an engine lacks of what its own word had taught, by more
than a block, is the template's doing. Half of the histories are continued twice each time, as agents do that fork: the second
time, the same chain is asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
from bench.knowledge.world import MODEL, Body, JsonMessage, Placed, Words, chain_of, make_engine, settings

from turnwise.engines.sim.cost import PRESETS
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.template import TemplateStyle
from turnwise.engines.sim.tool_choice import HEADER_TOOL_CALLS
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.memory import MemoryProxy
from turnwise.types import Digest, HitSource

BLOCK_SIZE = PRESETS[SimOptions().preset].block_size
THINK_S = 0.5
"""Pause after each call, in which its events arrive."""


class TemplatePlan(msgspec.Struct, frozen=True):
    """A template and the conversations that it renders."""

    style: TemplateStyle = "plain"
    seed: int = 0
    num_replicas: int = 2
    num_conversations: int = 24
    num_turns: int = 6
    day_s: float = 60.0
    """How long a day lasts where the template tells the date."""


class TemplateFigures(msgspec.Struct, frozen=True):
    """What was believed at the decision and what the engines found, in tokens."""

    style: TemplateStyle
    num_calls: int
    prompt_tokens: int
    predicted_tokens: int
    reported_tokens: int
    error_tokens: int
    """Sum of absolute errors, whatever the source."""
    num_confirmed: int
    """Calls placed by the engines' word."""
    num_short: int
    """Those of them that found more than was known, by more than a block: so far nobody had taught it."""
    num_wrong: int
    """Those of them that found less than was believed, by more than a block: the belief was wrong."""
    num_wrong_again: int
    """Wrong ones whose deepest prefix that was asked for before had been behind a wrong one before."""


def measure(plan: TemplatePlan) -> TemplateFigures:
    """Play the plan on a virtual clock."""
    return run_virtual(_Study(plan).run())


class _Study:
    def __init__(self, plan: TemplatePlan) -> None:
        self._plan = plan
        self._asked: set[Digest] = set()
        self._wrong: Counter[Digest] = Counter()
        self._totals: Counter[str] = Counter()

    async def run(self) -> TemplateFigures:
        plan = self._plan
        options = SimOptions(
            model=MODEL,
            seed=plan.seed,
            num_blocks=100_000,
            template=plan.style,
            template_day_s=plan.day_s,
            reasoning_share=0.7,
        )
        async with MemoryProxy(settings(plan.num_replicas), lambda number: make_engine(options, number)) as proxy:
            words = Words(plan.seed)
            systems = [words.system(150) for _ in range(3)]
            catalogues = [words.tools(3), words.tools(5)]
            histories: list[list[JsonMessage]] = [
                [systems[number % 3], {"role": "user", "content": words.text(20, 60)}]
                for number in range(plan.num_conversations)
            ]
            for _turn in range(plan.num_turns):
                for number, history in enumerate(histories):
                    tools = catalogues[number % 2]
                    said = await self._call(proxy, history, tools, num_calls=int(words.rng.random() < 1 / 2))
                    if number % 2:
                        await self._call(proxy, [*history, *words.reply_to(said)], tools, num_calls=0)
                    history.extend(words.reply_to(said))
        return TemplateFigures(
            style=plan.style,
            **{name: self._totals[name] for name in TemplateFigures.__struct_fields__ if name != "style"},
        )

    async def _call(self, proxy: MemoryProxy, messages: list[JsonMessage], tools: list[Body], *, num_calls: int) -> JsonMessage:
        body = {"model": MODEL, "messages": list(messages), "tools": tools, "max_tokens": 200}
        client = await proxy.call(body, headers=((HEADER_TOOL_CALLS.encode(), str(num_calls).encode()),))
        assert client.head is not None
        assert client.head.status == 200, client.body
        await asyncio.sleep(THINK_S)
        self._note(proxy, body)
        message: JsonMessage = client.json()["choices"][0]["message"]
        return message

    def _note(self, proxy: MemoryProxy, body: Body) -> None:
        placed = Placed.last(proxy)
        digests = chain_of(body).digests
        known = next((digest for digest in reversed(digests) if digest in self._asked), digests[0])
        self._asked.add(digests[-1])
        error = placed.predicted_tokens - placed.cached_tokens
        is_confirmed = placed.source is HitSource.CONFIRMED
        is_wrong = is_confirmed and error > BLOCK_SIZE
        self._totals.update(
            num_calls=1,
            prompt_tokens=placed.prompt_tokens,
            predicted_tokens=placed.predicted_tokens,
            reported_tokens=placed.cached_tokens,
            error_tokens=abs(error),
            num_confirmed=is_confirmed,
            num_short=is_confirmed and error < -BLOCK_SIZE,
            num_wrong=is_wrong,
            num_wrong_again=is_wrong and self._wrong[known] > 0,
        )
        self._wrong[known] += is_wrong
