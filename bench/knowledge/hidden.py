"""Predicted against reported hits where a replica tells neither its size nor its events and restarts in silence.

    python -m bench.knowledge.hidden --seeds 4

Embedded engines on a virtual clock: equal arguments give equal output, whatever the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from typing import Any

import msgspec
from bench.knowledge.row import Row
from bench.knowledge.world import Placed

from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.template import TemplateStyle
from turnwise.engines.sim.tokens import pseudo_sentence
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.events import EventSourceInfo, ReplicaFacts
from turnwise.index import ReplicaStats
from turnwise.proxy.memory import MemoryProxy, MemorySim
from turnwise.settings import PolicyName, PolicySettings, Replica, Settings
from turnwise.types import ReplicaId

WARM_UP_CALLS = 200
"""Calls that may be spent on learning."""

BAR = 0.05
"""How far predicted may be from reported, in the sum."""

PAUSE_S = 0.01
"""Between an answer and the next call in its place."""


DAY_S = 0.001
"""How long a day lasts where the template tells the date: less than a call takes."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The work, in conversations, calls and tokens; a cache holds `num_blocks` of 16, about a third of all conversations."""

    conversations: int = 40
    at_once: int = 8
    calls: int = 600
    restart_at: int | None = 400
    """Call before which every engine loses its cache, None for never; calls under way go on."""
    system_tokens: int = 400
    """Shared by all conversations, none if 0."""
    turns: tuple[int, int] = (3, 10)
    message_tokens: tuple[int, int] = (40, 300)
    answer_tokens: tuple[int, int] = (10, 200)
    num_blocks: int = 1600
    stated_blocks: int | None = None
    """What the replica says that it holds, None for nothing."""
    replicas: int = 1
    policy: PolicyName = "kv_aware"
    template: TemplateStyle = "plain"
    """How the engines render; one that tells the date has a new one for every call."""
    reasoning_share: float = 0.0
    """Share of answers that begin with reasoning, which the next turn carries."""


class Call(msgspec.Struct, frozen=True):
    """One answered call: what was predicted when it was placed, and what the engine counted; tokens."""

    predicted: int
    reported: int
    prompt: int
    answers_since: int | None
    """Answers to calls placed at its replica after the restart, before this one was placed; None before the restart."""


class Figures(msgspec.Struct, frozen=True):
    """What one run came to: its calls in the order of their answers, and what was learned of each replica."""

    calls: list[Call]
    replicas: dict[ReplicaId, ReplicaStats]

    @property
    def predicted_of_reported(self) -> float:
        """Predicted over reported tokens, summed over the calls after the warm-up."""
        calls = self.calls[WARM_UP_CALLS:]
        return sum(call.predicted for call in calls) / sum(call.reported for call in calls)

    @property
    def error_of_reported(self) -> float:
        """Sum of absolute errors over reported tokens."""
        return self._errors / sum(call.reported for call in self.calls[WARM_UP_CALLS:])

    @property
    def error_of_prompt(self) -> float:
        """Sum of absolute errors over prompt tokens."""
        return self._errors / sum(call.prompt for call in self.calls[WARM_UP_CALLS:])

    @property
    def _errors(self) -> int:
        return sum(abs(call.predicted - call.reported) for call in self.calls[WARM_UP_CALLS:])


class _Sim(MemorySim):
    """An embedded engine that states what it likes."""

    def __init__(self, options: SimOptions, stated_blocks: int | None) -> None:
        super().__init__(options)
        self._stated_blocks = stated_blocks

    def facts(self, source: EventSourceInfo) -> ReplicaFacts:
        """See `MemoryEngine.facts`."""
        facts = super().facts(source)
        return msgspec.structs.replace(facts, load=msgspec.structs.replace(facts.load, num_blocks=self._stated_blocks))


class _Conversation(msgspec.Struct):
    messages: list[dict[str, Any]]
    turns_left: int


class _Work:
    """Conversations whose turns come in random order; one that has ended is replaced by a new one."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self._shape = shape
        self._rng = random.Random(seed)
        self._system = pseudo_sentence(self._rng, shape.system_tokens)
        self._idle = [self._begin() for _ in range(shape.conversations)]

    def take(self) -> tuple[_Conversation, int]:
        """One that now waits for an answer, and how many tokens that shall have."""
        rng, shape = self._rng, self._shape
        conversation = self._idle.pop(rng.randrange(len(self._idle)))
        content = pseudo_sentence(rng, rng.randint(*shape.message_tokens))
        conversation.messages.append({"role": "user", "content": content})
        return conversation, rng.randint(*shape.answer_tokens)

    def give_back(self, conversation: _Conversation, answer: dict[str, Any]) -> None:
        """It was answered."""
        conversation.messages.append({name: value for name, value in answer.items() if value})
        conversation.turns_left -= 1
        self._idle.append(conversation if conversation.turns_left else self._begin())

    def _begin(self) -> _Conversation:
        messages = [{"role": "system", "content": self._system}] if self._system else []
        return _Conversation(messages, self._rng.randint(*self._shape.turns))


def measure(shape: Shape | None = None, seed: int = 1) -> Figures:
    """Hold the conversations of `shape` through a proxy in memory, on a virtual clock."""
    return run_virtual(_drive(shape or Shape(), seed))


async def _drive(shape: Shape, seed: int) -> Figures:
    replicas = tuple(Replica(url=f"http://sim:{9000 + number}", name=f"r{number}") for number in range(shape.replicas))
    options = SimOptions(
        model="sim",
        preset="h100-8b",
        num_blocks=shape.num_blocks,
        seed=seed,
        template=shape.template,
        template_day_s=DAY_S,
        reasoning_share=shape.reasoning_share,
    )
    engines = [_Sim(options, shape.stated_blocks) for _ in replicas]
    work, calls, numbers = _Work(shape, seed), list[Call](), iter(range(shape.calls))
    answers_since: Counter[str] | None = None

    async def speak() -> None:
        nonlocal answers_since
        for number in numbers:
            if number == shape.restart_at:
                answers_since = Counter()
                for engine in engines:
                    engine.restart_silently()
            conversation, answer_tokens = work.take()
            known = None if answers_since is None else answers_since.copy()
            body = {"model": "sim", "messages": conversation.messages, "max_tokens": answer_tokens, "ignore_eos": True}
            client = await proxy.call(body)
            placed = Placed.last(proxy)
            since = None if known is None else known[placed.replica]
            calls.append(Call(placed.predicted_tokens, placed.cached_tokens, placed.prompt_tokens, since))
            if known is not None and answers_since is not None:
                answers_since[placed.replica] += 1
            work.give_back(conversation, client.json()["choices"][0]["message"])
            await asyncio.sleep(PAUSE_S)

    proxy = MemoryProxy(
        Settings(replicas=replicas, policy=PolicySettings(name=shape.policy)), engines.__getitem__, has_events=False
    )
    async with proxy, asyncio.TaskGroup() as group:
        for _ in range(shape.at_once):
            group.create_task(speak())
    return Figures(calls, dict(proxy.index.stats().replicas))


def measure_row(seed: int) -> Row:
    """Predicted over reported tokens after the warm-up, across a silent restart; the worst of three seeds."""
    runs = [measure(seed=seed + step) for step in range(3)]
    worst = max(runs, key=lambda run: abs(run.predicted_of_reported - 1))
    restarts = [stats.num_silent_restarts for run in runs for stats in run.replicas.values()]
    return Row(
        name="hidden",
        title="predicted over reported hits where neither events nor size are told, over a silent restart",
        bar="0.95 to 1.05",
        measured=f"{worst.predicted_of_reported:.3f}",
        holds=abs(worst.predicted_of_reported - 1) <= BAR and restarts == [1] * len(restarts),
        figures={
            **{f"seed {seed + step}": run.predicted_of_reported for step, run in enumerate(runs)},
            "absolute errors, % of reported": 100 * max(run.error_of_reported for run in runs),
            "restarts told": sum(restarts),
            "restarts": len(restarts),
        },
        how="40 conversations, 8 at once, 25,600 tokens of cache; calls 200 to 600, restart at 400. Worst of 3 seeds.",
    )


def main() -> None:
    """Print a line for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--stated-blocks", type=int, help="what the replica says that it holds; nothing if not given")
    args = parser.parse_args()
    print("| seed | predicted of reported | error of reported | of prompt | tokens held | learned | restarts found |")
    print("|---|---|---|---|---|---|---|")
    for seed in range(1, args.seeds + 1):
        shape = Shape(stated_blocks=args.stated_blocks)
        figures = measure(shape, seed)
        shares = f"{figures.predicted_of_reported:.3f} | {figures.error_of_reported:.3f} | {figures.error_of_prompt:.3f}"
        for stats in figures.replicas.values():
            held = f"{shape.num_blocks * 16:,} | {stats.effective_tokens:,} | {stats.num_silent_restarts}"
            print(f"| {seed} | {shares} | {held} |")


if __name__ == "__main__":
    main()
