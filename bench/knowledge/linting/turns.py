"""What clients do that breaks a prefix in its turns."""

from __future__ import annotations

import json
import random
from datetime import timedelta

from bench.knowledge.linting.agents import START, Agent, Change, Json, Step, new_uuid, prose
from bench.knowledge.linting.head import TIMES


def key_order(agent: Agent) -> Change:
    """Write the keys of an object in another order, in the tools or in old calls."""
    rng = agent.rng
    where = rng.randrange(2)
    at = rng.randrange(len(agent.tools))

    def reversed_object(value: Json) -> Json:
        return dict(reversed(value.items()))

    def change(agent: Agent) -> None:
        if not agent.is_breaking:
            return
        if where == 0:
            name, about, schema = agent.tools[at]
            agent.tools[at] = (name, about, schema | {"properties": reversed_object(schema["properties"])})
        else:
            agent.steps = [
                (*step[:3], reversed_object(step[3]), *step[4:]) if step[0] == "call" else step for step in agent.steps
            ]

    return change


def whitespace(agent: Agent) -> Change:
    """Write other blanks, in the system text, in results, or in the arguments of calls."""
    rng = agent.rng
    where = rng.randrange(3 if agent.api != "messages" else 2)

    def change(agent: Agent) -> None:
        if not agent.is_breaking:
            return
        if where == 0:
            agent.system[1] += "  "
        elif where == 1:
            agent.steps = [(*step[:2], step[2].strip()) if step[0] == "result" else step for step in agent.steps]
        else:
            agent.steps = [
                (*step[:3], json.dumps(step[3], separators=(",", ":"), ensure_ascii=False), *step[4:])
                if step[0] == "call"
                else step
                for step in agent.steps
            ]

    return change


def json_spelling(agent: Agent) -> Change:
    """Write the same JSON otherwise: escapes, or blanks between its parts."""
    rng = agent.rng
    by_escapes = rng.random() < 0.5
    other = (",", ":") if agent.separators == (", ", ": ") else (", ", ": ")

    def change(agent: Agent) -> bytes | None:
        if not agent.is_breaking:
            return None
        return agent.written(agent.body(), ensure_ascii=True) if by_escapes else agent.written(agent.body(), separators=other)

    return change


def dropped_reasoning(_: Agent) -> Change:
    """Leave the reasoning out of old turns."""

    def without(step: Step) -> Step:
        return (*step[:-1], None) if step[0] in {"call", "say"} else step

    def change(agent: Agent) -> None:
        if agent.is_breaking:
            agent.steps = [without(step) for step in agent.steps]

    return change


def volatile_turn(agent: Agent) -> Change:
    """Write the time or an id into turns, all of them or the newest, anew with each call."""
    rng = agent.rng
    form = rng.choice(TIMES) if rng.random() < 0.7 else None
    is_last_only = rng.random() < 0.4

    def change(agent: Agent) -> None:
        users = [at for at, step in enumerate(agent.steps) if step[0] in {"user", "result"}]
        now = form(START + timedelta(seconds=59 * agent.call)) if form else new_uuid(random.Random(agent.call))
        fixed = form(START) if form else new_uuid(random.Random(-1))
        for at in users[-1:] if is_last_only else users:
            *rest, text = agent.steps[at]
            if not is_last_only or agent.call >= agent.breaks_at - 1:  # what the newest turn bears, the next call leaves out
                agent.steps[at] = (*rest, f"{text}\n<env>Now: {now if agent.is_breaking or is_last_only else fixed}</env>")

    return change


def edited_turn(agent: Agent) -> Change:
    """Rewrite an old turn, or put one in among old turns."""
    rng = agent.rng
    kind, new = rng.randrange(3), prose(rng, 20, 40)

    def change(agent: Agent) -> None:
        if not agent.is_breaking:
            return
        if kind == 0:
            agent.steps[0] = ("user", new)
            return
        at = next(at for at, step in enumerate(agent.steps) if step[0] == "call")
        if kind == 1:
            step = agent.steps[at]
            agent.steps[at] = (*step[:4], new, step[5])
        else:
            agent.steps.insert(1, ("user", new))

    return change


def edited_tool_result(agent: Agent) -> Change:
    """Clear or shorten the result of a tool."""
    rng = agent.rng
    is_cleared = rng.random() < 0.5

    def change(agent: Agent) -> None:
        if agent.is_breaking:
            at = next(at for at, step in enumerate(agent.steps) if step[0] == "result")
            *rest, text = agent.steps[at]
            agent.steps[at] = (*rest, "[Old tool result content cleared]" if is_cleared else text[: len(text) // 3])

    return change


def truncated_history(agent: Agent) -> Change:
    """Leave old turns out, or put a summary in their place."""
    rng = agent.rng
    keeps_first, summary = rng.random() < 0.6, f"Summary so far: {prose(rng, 30, 60)}"

    def change(agent: Agent) -> None:
        if not agent.is_breaking:
            return
        calls = [at for at, step in enumerate(agent.steps) if step[0] == "call"]
        head = [agent.steps[0]] if keeps_first else [("user", summary)]
        agent.steps = [*head, *agent.steps[calls[1] :]]

    return change
