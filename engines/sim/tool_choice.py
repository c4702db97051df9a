"""Which tools an answer calls: as the request demands, else as its header says, else by the engine's policy."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from turnwise.engines.sim.bodies import ChatBody, Message, NamedTool, SimFault, ToolFunction
from turnwise.engines.sim.options import ToolPolicy
from turnwise.engines.sim.script import ToolRequest

HEADER_TOOL_CALLS = "x-sim-tool-calls"
"""How many tool calls the answer shall make, where the request has tools, or which, as names between commas; 0 forbids them."""
MAX_TOOL_CALLS = 16
TOOL_CALL_SHARE = 0.6
"""Chance of a tool call under the policy `header`; it halves with each round of tool results since the last user message."""
OBSERVATION = "Observation:"
"""How user text begins by which frameworks without tool messages hand in a tool's result."""


def choose_tools(
    rng: random.Random,
    body: ChatBody,
    functions: Sequence[ToolFunction],
    headers: Mapping[str, str],
    policy: ToolPolicy,
) -> list[ToolRequest]:
    """The calls that one answer makes; raises `SimFault` where the request asks for what cannot be."""
    choice = body.tool_choice
    if isinstance(choice, NamedTool):
        named = [function for function in functions if function.name == choice.function.name]
        if not named:
            raise SimFault(400, f"tool_choice names no tool of this request: {choice.function.name!r}", param="tool_choice")
        return [_request(named[0])]
    if choice == "required" and not functions:
        raise SimFault(400, "tool_choice is `required` but there are no tools", param="tools")
    if choice == "none" or not functions:
        return []
    count, asked = _asked(headers, functions)
    if asked:
        return [_request(function) for function in asked]
    rounds = _num_rounds(body.messages)
    if policy == "once" and count is None:
        return _once(functions, rounds, is_required=choice == "required")
    if count is None:
        count = int(policy == "header" and rng.random() < TOOL_CALL_SHARE * 0.5**rounds)
    if choice == "required":
        count = max(count, 1)
    return [_request(rng.choice(functions)) for _ in range(count)]


def _once(functions: Sequence[ToolFunction], rounds: int, *, is_required: bool) -> list[ToolRequest]:
    """The first tool, once; then text.

    A caller that demands a call even then gets one of the last tool: frameworks that always demand one append the tool by which
    an answer is given.
    """
    if rounds == 0:
        return [_request(functions[0])]
    return [_request(functions[-1])] if is_required else []


def _asked(headers: Mapping[str, str], functions: Sequence[ToolFunction]) -> tuple[int | None, list[ToolFunction]]:
    """How many calls the header asks for, or which; neither where there is none."""
    given = headers.get(HEADER_TOOL_CALLS)
    if given is None:
        return None, []
    if given.isdecimal():
        if int(given) > MAX_TOOL_CALLS:
            raise SimFault(400, f"{HEADER_TOOL_CALLS} must be at most {MAX_TOOL_CALLS}", param=HEADER_TOOL_CALLS)
        return int(given), []
    offered = {function.name: function for function in functions}
    names = given.split(",")
    if len(names) > MAX_TOOL_CALLS or not offered.keys() >= set(names):
        expected = f"a number from 0 to {MAX_TOOL_CALLS}, or names of as many tools of this request"
        raise SimFault(400, f"{HEADER_TOOL_CALLS} must be {expected}, not {given!r}", param=HEADER_TOOL_CALLS)
    return len(names), [offered[name] for name in names]


def _num_rounds(messages: Sequence[Message]) -> int:
    """Tool results since the user last spoke."""
    rounds = 0
    for message in reversed(messages):
        is_result = message.role == "tool" or (message.role == "user" and message.text.startswith(OBSERVATION))
        if message.role == "user" and not is_result:
            break
        rounds += is_result
    return rounds


def _request(function: ToolFunction) -> ToolRequest:
    return ToolRequest(function.name, function.parameters or {"type": "object"})
