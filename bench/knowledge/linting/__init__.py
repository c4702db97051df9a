"""Conversations that break their prefix in one known way, made from a seed.

An instability is made for an agent, and is then called before each request is written, with a copy of the agent as it is at
that call: `Agent.call` says which it is, `Agent.is_breaking` whether the prefix is to break now.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from bench.knowledge.linting import head, turns
from bench.knowledge.linting.agents import Agent, Change

from turnwise.proxy.lint import Cause

INSTABILITIES: dict[Cause, Callable[[Agent], Change]] = {
    Cause.TIMESTAMP_IN_SYSTEM: head.timestamp_in_system,
    Cause.RANDOM_ID_IN_SYSTEM: head.random_id_in_system,
    Cause.COUNTER_IN_SYSTEM: head.counter_in_system,
    Cause.SYSTEM_CHANGED: head.system_changed,
    Cause.TOOL_ORDER: head.tool_order,
    Cause.TOOLS_CHANGED: head.tools_changed,
    Cause.VOLATILE_TOOLS: head.volatile_tools,
    Cause.TEMPLATE_ARGUMENTS: head.template_arguments,
    Cause.MODEL_CHANGED: head.model_changed,
    Cause.SALT_CHANGED: head.salt_changed,
    Cause.KEY_ORDER: turns.key_order,
    Cause.WHITESPACE: turns.whitespace,
    Cause.JSON_SPELLING: turns.json_spelling,
    Cause.DROPPED_REASONING: turns.dropped_reasoning,
    Cause.VOLATILE_TURN: turns.volatile_turn,
    Cause.EDITED_TURN: turns.edited_turn,
    Cause.EDITED_TOOL_RESULT: turns.edited_tool_result,
    Cause.TRUNCATED_HISTORY: turns.truncated_history,
}
"""What a client does, by the cause that the linter should name; `api_changed` has a case of its own."""

FIRST_CALL = {
    Cause.DROPPED_REASONING: 2,
    Cause.EDITED_TURN: 2,
    Cause.EDITED_TOOL_RESULT: 3,
    Cause.TRUNCATED_HISTORY: 4,
    Cause.KEY_ORDER: 2,
    Cause.WHITESPACE: 2,
    Cause.VOLATILE_TURN: 2,
}
"""The earliest call at which there is a turn to change; 1 for all others."""


def broken_case(cause: Cause, seed: int) -> tuple[Agent, int, list[bytes]]:
    """An agent, the call from which on it breaks its prefix, and all its bodies."""
    rng = random.Random(f"{cause}/{seed}")
    while True:
        agent = Agent(rng)
        agent.thinks = agent.thinks or cause is Cause.DROPPED_REASONING
        first = FIRST_CALL.get(cause, 1)
        if len(agent.ends) > first + 1 and (cause is not Cause.DROPPED_REASONING or agent.steps[1][-1]):
            break
    at = rng.randint(first, len(agent.ends) - 1)
    return agent, at, list(agent.bodies(INSTABILITIES[cause](agent), at))
