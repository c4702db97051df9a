"""What clients do that breaks a prefix in its head: the system text, the tools, and what else stands before the turns."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from datetime import datetime, timedelta

from bench.knowledge.linting.agents import NOUNS, START, Agent, Change, Json, new_tool, new_uuid, prose, token


def _into_system(agent: Agent, text: str, seed: float) -> None:
    spot = random.Random(seed)
    line = spot.randrange(len(agent.system))
    agent.system[line] = f"{agent.system[line]}\n{text}" if spot.random() < 0.5 else f"{text} {agent.system[line]}"


TIMES: tuple[Callable[[datetime], str], ...] = (
    lambda when: when.isoformat(),
    lambda when: when.strftime("%Y-%m-%d %H:%M:%S"),
    lambda when: when.strftime("%A, %B %d, %Y at %I:%M:%S %p"),
    lambda when: when.strftime("%a, %d %b %Y %H:%M:%S GMT"),
    lambda when: when.strftime("%a %b %d %H:%M:%S UTC %Y"),
    lambda when: when.strftime("%H:%M:%S"),
    lambda when: when.strftime("%m/%d/%Y, %H:%M:%S"),
    lambda when: str(int(when.timestamp())),
    lambda when: str(int(when.timestamp() * 1000)),
    lambda when: when.strftime("%Y%m%dT%H%M%SZ"),
)
IDS: tuple[Callable[[random.Random], str], ...] = (
    new_uuid,
    lambda rng: rng.getrandbits(128).to_bytes(16, "big").hex(),
    lambda rng: token(rng, "0123456789abcdef", 8),
    lambda rng: "01" + token(rng, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24),
    lambda rng: "req_" + token(rng, string.ascii_letters + string.digits, 22),
)
COUNTERS: tuple[Callable[[int], str], ...] = (
    lambda call: f"You have {180000 - 3217 * call} tokens left.",
    lambda call: f"This is step {call + 1} of 50.",
    lambda call: f"Spent so far: ${0.04 * (call + 1):.2f}",
    lambda call: f"Open files: {3 + call}",
)


def timestamp_in_system(agent: Agent) -> Change:
    """Write the time into the system text."""
    rng = agent.rng
    form, label, seed = rng.choice(TIMES), rng.choice(["Current time: ", "Today is ", "<date>", "Now: "]), rng.random()
    pace = timedelta(seconds=rng.choice([7, 61, 1013]))

    def change(agent: Agent) -> None:
        _into_system(agent, label + form(START + pace * (agent.call if agent.is_breaking else 0)), seed)

    return change


def random_id_in_system(agent: Agent) -> Change:
    """Write an id that is new with each call into the system text."""
    rng = agent.rng
    form, label, seed = rng.choice(IDS), rng.choice(["Request: ", "Trace id ", "<session>", "nonce="]), rng.random()
    first = form(rng)

    def change(agent: Agent) -> None:
        _into_system(agent, label + (form(rng) if agent.is_breaking else first), seed)

    return change


def counter_in_system(agent: Agent) -> Change:
    """Write a number that grows with each call into the system text."""
    rng = agent.rng
    form, seed = rng.choice(COUNTERS), rng.random()

    def change(agent: Agent) -> None:
        _into_system(agent, form(agent.call if agent.is_breaking else 0), seed)

    return change


def system_changed(agent: Agent) -> Change:
    """Rewrite a part of the system text, put one in, or take one out."""
    rng = agent.rng
    new, at, kind = prose(rng, 20, 60), rng.randrange(len(agent.system)), rng.randrange(3)

    def change(agent: Agent) -> None:
        if agent.is_breaking and kind == 0:
            agent.system[at] = new
        elif agent.is_breaking and kind == 1:
            agent.system.insert(at, new)
        elif agent.is_breaking:
            agent.system.pop(at)

    return change


def tool_order(agent: Agent) -> Change:
    """List the tools in another order."""
    rng = agent.rng
    order = rng.sample(range(len(agent.tools)), len(agent.tools))
    if order == sorted(order):
        order.reverse()

    def change(agent: Agent) -> None:
        if agent.is_breaking:
            agent.tools = [agent.tools[at] for at in order]

    return change


def tools_changed(agent: Agent) -> Change:
    """Put a tool in, take one out, or describe one otherwise."""
    rng = agent.rng
    new, at, kind = new_tool(rng, "mcp_" + rng.choice(NOUNS)), rng.randrange(len(agent.tools)), rng.randrange(3)

    def change(agent: Agent) -> None:
        if agent.is_breaking and kind == 0:
            agent.tools.insert(at, new)
        elif agent.is_breaking and kind == 1:
            agent.tools.pop(at)
        elif agent.is_breaking:
            name, about, schema = agent.tools[at]
            agent.tools[at] = (name, f"{about} {prose(random.Random(at), 5, 20)}", schema)

    return change


def volatile_tools(agent: Agent) -> Change:
    """Write the time into the description of a tool."""
    rng = agent.rng
    form, at = rng.choice(TIMES), rng.randrange(len(agent.tools))

    def change(agent: Agent) -> None:
        name, about, schema = agent.tools[at]
        when = form(START + timedelta(seconds=67 * (agent.call if agent.is_breaking else 0)))
        agent.tools[at] = (name, f"{about} Listing of {when}.", schema)

    return change


def template_arguments(agent: Agent) -> Change:
    """Ask for another rendering: a tool choice, an effort of reasoning, an argument of the template."""
    rng = agent.rng
    by_api: dict[str, list[Json]] = {
        "chat": [
            {"tool_choice": "required"},
            {"reasoning_effort": "high"},
            {"chat_template_kwargs": {"enable_thinking": False}},
        ],
        "messages": [{"tool_choice": {"type": "any"}}, {"thinking": {"type": "enabled", "budget_tokens": 4096}}],
        "responses": [{"reasoning": {"effort": "high"}}, {"tool_choice": "required"}],
    }
    extra = rng.choice(by_api[agent.api])

    def change(agent: Agent) -> None:
        if agent.is_breaking:
            agent.extra |= extra

    return change


def model_changed(_: Agent) -> Change:
    """Ask another model."""

    def change(agent: Agent) -> None:
        if agent.is_breaking:
            agent.model = "kimi-k3"

    return change


def salt_changed(agent: Agent) -> Change:
    """Send another `cache_salt`, once or with each call."""
    rng = agent.rng
    first, every = new_uuid(rng), rng.random() < 0.5

    def change(agent: Agent) -> None:
        agent.extra["cache_salt"] = (new_uuid(rng) if every else "tenant-2") if agent.is_breaking else first

    return change
