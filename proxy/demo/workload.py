"""What the demo's agents do: programs of several turns, shaped like real coding agents and drawn from a seed.

`agents.json` holds system prompts, tool catalogues and opening messages of four real clients as captured on the wire (qwen-code
0.15.10, opencode 1.18.33, smolagents 1.26.0, openai-agents 0.24.0), every word replaced by a pseudo-word of its length.
"""

from __future__ import annotations

import random
from importlib import resources
from typing import Any

import msgspec

SHARES = {"qwen-code": 4, "opencode": 5, "smolagents": 2, "openai-agents": 1}
"""How often each agent starts a program: coding agents, whose prompts are long, are most of the traffic."""

MIN_TURNS, MAX_TURNS = 4, 9
GOAL_BYTES = (4_000, 12_000)
"""A goal comes with files pasted or attached: what makes one program's prompt its own."""

RESULT_BYTES_MEDIAN, RESULT_BYTES_MAX = 2_500, 12_000
TOOL_S_MEDIAN, TOOL_S_MAX = 0.15, 1.0
"""Tool results and times are log-normal with a long tail, as in traces of coding agents, at a tenth of their time."""

MAX_TOKENS = 48
START_WITHIN_S = 2.0


class Agent(msgspec.Struct, frozen=True):
    """One kind of agent: what it sends before any goal."""

    name: str
    head: list[dict[str, Any]]
    tools: list[dict[str, Any]]


class Turn(msgspec.Struct, frozen=True):
    """One call after which a tool runs for `tool_s` seconds and gives `result`; the last turn of a program runs none."""

    result: str
    tool_s: float


class Program(msgspec.Struct, frozen=True):
    """One goal, worked on turn by turn."""

    name: str
    agent: Agent
    goal: str
    turns: tuple[Turn, ...]
    starts_after_s: float


def agents() -> dict[str, Agent]:
    """The agents by name."""
    raw = resources.files(__package__).joinpath("agents.json").read_bytes()
    return {agent.name: agent for agent in msgspec.json.decode(raw, type=list[Agent])}


def programs(count: int, seed: int) -> list[Program]:
    """Draw `count` programs; equal arguments give equal programs."""
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    known = agents()
    names = rng.choices(list(SHARES), weights=list(SHARES.values()), k=count)
    return [_program(f"{name}-{number}", known[name], rng) for number, name in enumerate(names, 1)]


def _program(name: str, agent: Agent, rng: random.Random) -> Program:
    num_turns = rng.randint(MIN_TURNS, MAX_TURNS)
    turns = [
        Turn(
            result=_text(rng, int(min(rng.lognormvariate(0, 0.8) * RESULT_BYTES_MEDIAN, RESULT_BYTES_MAX))),
            tool_s=min(rng.lognormvariate(0, 1.0) * TOOL_S_MEDIAN, TOOL_S_MAX),
        )
        for _ in range(num_turns)
    ]
    return Program(
        name=name,
        agent=agent,
        goal=_text(rng, rng.randint(*GOAL_BYTES)),
        turns=tuple(turns),
        starts_after_s=rng.uniform(0, START_WITHIN_S),
    )


def _text(rng: random.Random, num_bytes: int) -> str:
    words: list[str] = []
    size = 0
    while size < num_bytes:
        word = "".join(rng.choice("bcdfghjklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 4)))
        words.append(word)
        size += len(word) + 1
    return " ".join(words)
