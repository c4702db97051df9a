"""What clients do that breaks a prefix: each changes how the requests of an agent are written from some call on.

An instability is made for an agent, and is then called before each request is written: with a copy of the agent as it is at
that call, the number of the call, and whether the prefix is to break now.
"""

import json
import random
import string
from datetime import timedelta

from tests.property.lint_agents import NOUNS, START, Agent, new_tool, new_uuid, prose, token

from turnwise.proxy.lint import Cause


def _into_system(agent, text, seed):
    spot = random.Random(seed)
    line = spot.randrange(len(agent.system))
    agent.system[line] = f"{agent.system[line]}\n{text}" if spot.random() < 0.5 else f"{text} {agent.system[line]}"


TIMES = (
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
IDS = (
    new_uuid,
    lambda rng: rng.getrandbits(128).to_bytes(16, "big").hex(),
    lambda rng: token(rng, "0123456789abcdef", 8),
    lambda rng: "01" + token(rng, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24),
    lambda rng: "req_" + token(rng, string.ascii_letters + string.digits, 22),
)
COUNTERS = (
    lambda call: f"You have {180000 - 3217 * call} tokens left.",
    lambda call: f"This is step {call + 1} of 50.",
    lambda call: f"Spent so far: ${0.04 * (call + 1):.2f}",
    lambda call: f"Open files: {3 + call}",
)


def timestamp_in_system(rng, agent):
    form, label, seed = rng.choice(TIMES), rng.choice(["Current time: ", "Today is ", "<date>", "Now: "]), rng.random()
    pace = timedelta(seconds=rng.choice([7, 61, 1013]))

    def change(agent, call, is_on):
        _into_system(agent, label + form(START + pace * (call if is_on else 0)), seed)

    return change


def random_id_in_system(rng, agent):
    form, label, seed = rng.choice(IDS), rng.choice(["Request: ", "Trace id ", "<session>", "nonce="]), rng.random()
    first = form(rng)

    def change(agent, call, is_on):
        _into_system(agent, label + (form(rng) if is_on else first), seed)

    return change


def counter_in_system(rng, agent):
    form, seed = rng.choice(COUNTERS), rng.random()

    def change(agent, call, is_on):
        _into_system(agent, form(call if is_on else 0), seed)

    return change


def system_changed(rng, agent):
    new, at, kind = prose(rng, 20, 60), rng.randrange(len(agent.system)), rng.randrange(3)

    def change(agent, call, is_on):
        if is_on and kind == 0:
            agent.system[at] = new
        elif is_on and kind == 1:
            agent.system.insert(at, new)
        elif is_on:
            agent.system.pop(at)

    return change


def tool_order(rng, agent):
    order = rng.sample(range(len(agent.tools)), len(agent.tools))
    if order == sorted(order):
        order.reverse()

    def change(agent, call, is_on):
        if is_on:
            agent.tools = [agent.tools[at] for at in order]

    return change


def tools_changed(rng, agent):
    new, at, kind = new_tool(rng, "mcp_" + rng.choice(NOUNS)), rng.randrange(len(agent.tools)), rng.randrange(3)

    def change(agent, call, is_on):
        if is_on and kind == 0:
            agent.tools.insert(at, new)
        elif is_on and kind == 1:
            agent.tools.pop(at)
        elif is_on:
            name, about, schema = agent.tools[at]
            agent.tools[at] = (name, f"{about} {prose(random.Random(at), 5, 20)}", schema)

    return change


def volatile_tools(rng, agent):
    form, at = rng.choice(TIMES), rng.randrange(len(agent.tools))

    def change(agent, call, is_on):
        name, about, schema = agent.tools[at]
        when = form(START + timedelta(seconds=67 * (call if is_on else 0)))
        agent.tools[at] = (name, f"{about} Listing of {when}.", schema)

    return change


def template_arguments(rng, agent):
    by_api = {
        "chat": [
            {"tool_choice": "required"},
            {"reasoning_effort": "high"},
            {"chat_template_kwargs": {"enable_thinking": False}},
        ],
        "messages": [{"tool_choice": {"type": "any"}}, {"thinking": {"type": "enabled", "budget_tokens": 4096}}],
        "responses": [{"reasoning": {"effort": "high"}}, {"tool_choice": "required"}],
    }
    extra = rng.choice(by_api[agent.api])

    def change(agent, call, is_on):
        if is_on:
            agent.extra |= extra

    return change


def model_changed(rng, agent):
    def change(agent, call, is_on):
        if is_on:
            agent.model = "kimi-k3"

    return change


def salt_changed(rng, agent):
    first, every = new_uuid(rng), rng.random() < 0.5

    def change(agent, call, is_on):
        agent.extra["cache_salt"] = (new_uuid(rng) if every else "tenant-2") if is_on else first

    return change


def key_order(rng, agent):
    where = rng.randrange(2)
    at = rng.randrange(len(agent.tools))

    def reversed_object(value):
        return dict(reversed(value.items()))

    def change(agent, call, is_on):
        if not is_on:
            return
        if where == 0:
            name, about, schema = agent.tools[at]
            agent.tools[at] = (name, about, schema | {"properties": reversed_object(schema["properties"])})
        else:
            agent.steps = [
                (*step[:3], reversed_object(step[3]), *step[4:]) if step[0] == "call" else step for step in agent.steps
            ]

    return change


def whitespace(rng, agent):
    where = rng.randrange(3 if agent.api != "messages" else 2)

    def change(agent, call, is_on):
        if not is_on:
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


def json_spelling(rng, agent):
    by_escapes = rng.random() < 0.5
    other = (",", ":") if agent.separators == (", ", ": ") else (", ", ": ")

    def change(agent, call, is_on):
        if not is_on:
            return None
        return agent.written(agent.body(), ensure_ascii=True) if by_escapes else agent.written(agent.body(), separators=other)

    return change


def dropped_reasoning(rng, agent):
    def without(step):
        return (*step[:-1], None) if step[0] in {"call", "say"} else step

    def change(agent, call, is_on):
        if is_on:
            agent.steps = [without(step) for step in agent.steps]

    return change


def volatile_turn(rng, agent):
    form = rng.choice(TIMES) if rng.random() < 0.7 else None
    is_last_only = rng.random() < 0.4

    def change(agent, call, is_on):
        users = [at for at, step in enumerate(agent.steps) if step[0] in {"user", "result"}]
        now = form(START + timedelta(seconds=59 * call)) if form else new_uuid(random.Random(call))
        fixed = form(START) if form else new_uuid(random.Random(-1))
        for at in users[-1:] if is_last_only else users:
            *rest, text = agent.steps[at]
            if not is_last_only or call >= agent.breaks_at - 1:  # what the newest turn bears, the next call leaves out
                agent.steps[at] = (*rest, f"{text}\n<env>Now: {now if is_on or is_last_only else fixed}</env>")

    return change


def edited_turn(rng, agent):
    kind, new = rng.randrange(3), prose(rng, 20, 40)

    def change(agent, call, is_on):
        if not is_on:
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


def edited_tool_result(rng, agent):
    is_cleared = rng.random() < 0.5

    def change(agent, call, is_on):
        if is_on:
            at = next(at for at, step in enumerate(agent.steps) if step[0] == "result")
            *rest, text = agent.steps[at]
            agent.steps[at] = (*rest, "[Old tool result content cleared]" if is_cleared else text[: len(text) // 3])

    return change


def truncated_history(rng, agent):
    keeps_first, summary = rng.random() < 0.6, f"Summary so far: {prose(rng, 30, 60)}"

    def change(agent, call, is_on):
        if not is_on:
            return
        calls = [at for at, step in enumerate(agent.steps) if step[0] == "call"]
        head = [agent.steps[0]] if keeps_first else [("user", summary)]
        agent.steps = [*head, *agent.steps[calls[1] :]]

    return change


INSTABILITIES = {
    Cause.TIMESTAMP_IN_SYSTEM: timestamp_in_system,
    Cause.RANDOM_ID_IN_SYSTEM: random_id_in_system,
    Cause.COUNTER_IN_SYSTEM: counter_in_system,
    Cause.SYSTEM_CHANGED: system_changed,
    Cause.TOOL_ORDER: tool_order,
    Cause.TOOLS_CHANGED: tools_changed,
    Cause.VOLATILE_TOOLS: volatile_tools,
    Cause.TEMPLATE_ARGUMENTS: template_arguments,
    Cause.MODEL_CHANGED: model_changed,
    Cause.SALT_CHANGED: salt_changed,
    Cause.KEY_ORDER: key_order,
    Cause.WHITESPACE: whitespace,
    Cause.JSON_SPELLING: json_spelling,
    Cause.DROPPED_REASONING: dropped_reasoning,
    Cause.VOLATILE_TURN: volatile_turn,
    Cause.EDITED_TURN: edited_turn,
    Cause.EDITED_TOOL_RESULT: edited_tool_result,
    Cause.TRUNCATED_HISTORY: truncated_history,
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


def broken_case(cause, seed):
    """An agent, the call from which on it breaks its prefix, and all its bodies."""
    rng = random.Random(f"{cause}/{seed}")
    while True:
        agent = Agent(rng)
        agent.thinks = agent.thinks or cause is Cause.DROPPED_REASONING
        first = FIRST_CALL.get(cause, 1)
        if len(agent.ends) > first + 1 and (cause is not Cause.DROPPED_REASONING or agent.steps[1][-1]):
            break
    at = rng.randint(first, len(agent.ends) - 1)
    return agent, at, list(agent.bodies(INSTABILITIES[cause](rng, agent), at))
