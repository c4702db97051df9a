"""How often the linter names the cause of a break: of what clients do, and of what the templates of embedded engines do."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from bench.knowledge.linting import INSTABILITIES, broken_case
from bench.knowledge.linting.agents import Agent, request_of
from bench.knowledge.row import Row
from bench.knowledge.world import MODEL, JsonMessage, Words, make_engine, settings

from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.template import TemplateStyle
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.lint import Cause, Finding, Linter
from turnwise.proxy.memory import MemoryProxy
from turnwise.settings import LintSettings

BAR = 0.95
SEEDS = 12
"""Cases of each cause, and of each template."""

CALLS, THINK_S, DAY_S = 6, 2.5, 5.0
"""Calls of a conversation under a template, the pause after each, and how long a day lasts there."""

BREAKING: dict[TemplateStyle, Cause] = {
    "dated": Cause.TEMPLATE_DATE_OR_HEAD,
    "drops_reasoning": Cause.TEMPLATE_DROPS_REASONING,
    "tools_before_last_user": Cause.TEMPLATE_REORDERS,
    "trims": Cause.TEMPLATE_REORDERS,
}
EXTENDING: tuple[TemplateStyle, ...] = ("plain", "tools_after_system", "tools_before_system")


def findings_of(agent: Agent, bodies: list[bytes]) -> list[tuple[int, Finding]]:
    """What the linter finds in the requests of one agent, each with the call at which it does."""
    linter = Linter(LintSettings(), bytes_per_token=4.0)
    found = [(call, linter.check(request_of(agent, body), now=call * 100.0)) for call, body in enumerate(bodies)]
    return [(call, finding) for call, finding in found if finding is not None]


def is_named(cause: Cause, seed: int) -> bool:
    """Whether the first finding is at the call that broke the prefix, and all findings name the cause."""
    agent, at, bodies = broken_case(cause, seed)
    found = findings_of(agent, bodies)
    return bool(found) and found[0][0] == at and {finding.cause for _, finding in found} == {cause}


def breaks_under(style: TemplateStyle, seed: int) -> list[Cause]:
    """The causes that are found in one conversation under a template, through a whole proxy on a virtual clock."""
    return run_virtual(_talk(style, seed))


async def _talk(style: TemplateStyle, seed: int) -> list[Cause]:
    options = SimOptions(
        model=MODEL,
        seed=seed,
        num_blocks=20_000,
        template=style,
        template_day_s=DAY_S,
        reasoning_share=1.0 if style == "drops_reasoning" else 0.5,
    )
    words, found = Words(seed), list[Cause]()
    tools = words.tools(3)
    messages: list[JsonMessage] = [words.system(90), {"role": "user", "content": words.text(20, 40)}]
    async with MemoryProxy(settings(1), lambda number: make_engine(options, number)) as proxy:
        for _ in range(CALLS):
            client = await proxy.call({"model": MODEL, "messages": messages, "tools": tools, "max_tokens": 40})
            line: dict[str, Any] = dict(proxy.recorder.recent[-1])
            if line["prefix_break"] is not None:
                found.append(Cause(line["prefix_break"]["cause"]))
            said = {name: value for name, value in client.json()["choices"][0]["message"].items() if value}
            messages += [{**said, "content": said.get("content", "")}, {"role": "user", "content": f" {words.text(15, 25)}\n"}]
            await asyncio.sleep(THINK_S)
    return found


def measure(seed: int, num_seeds: int = SEEDS) -> Row:
    """The share of seeded cases whose cause is named: each client's habit, and each break under a template, is a case."""
    seeds = range(seed * 1000, seed * 1000 + num_seeds)
    by_cause = {cause: sum(is_named(cause, each) for each in seeds) for cause in INSTABILITIES}
    by_style = {style: Counter(cause for each in seeds for cause in breaks_under(style, each)) for style in BREAKING}
    num_false = sum(len(breaks_under(style, each)) for style in EXTENDING for each in seeds)
    num_named = sum(by_cause.values()) + sum(named[BREAKING[style]] for style, named in by_style.items())
    num_cases = len(by_cause) * num_seeds + sum(named.total() for named in by_style.values())
    worst = min(by_cause, key=lambda cause: by_cause[cause])
    return Row(
        name="naming",
        title="share of breaks whose cause the linter names",
        bar=f"at least {BAR:g}",
        measured=f"{num_named / num_cases:.3f}",
        holds=num_named >= BAR * num_cases and not num_false,
        figures={
            "cases": num_cases,
            "causes of clients": len(by_cause),
            f"{worst} (the worst) %": 100 * by_cause[worst] / num_seeds,
            **{f"{style} %": 100 * named[BREAKING[style]] / max(1, named.total()) for style, named in by_style.items()},
            "false alarms": num_false,
        },
        how=(
            f"{num_seeds} seeded conversations of agents over three APIs for each habit of clients that breaks a prefix, named "
            f"where the first finding is at the call that broke it and no other cause is found; and all breaks in {num_seeds} "
            f"conversations of {CALLS} turns under each template that breaks prefixes, at least half of all answers with "
            "reasoning, through a proxy with events on a virtual clock. Templates that extend must raise no alarm."
        ),
    )
