"""From a chat or completions body to prompt tokens and scripts: everything that is known of a call before it runs."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Mapping

import msgspec
import xxhash

from turnwise.engines.sim.answers import Frame
from turnwise.engines.sim.blocks import BlockOwner
from turnwise.engines.sim.bodies import (
    ChatBody,
    CompletionBody,
    NamedTool,
    Sampling,
    SimFault,
    ToolFunction,
    check_messages,
    read_tools,
)
from turnwise.engines.sim.cost import Preset
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.script import Limits, Script, ToolRequest, write_text, write_tool_calls
from turnwise.engines.sim.template import render_chat
from turnwise.engines.sim.tokens import encode

HEADER_TOOL_CALLS = "x-sim-tool-calls"
"""How many tool calls the answer shall make, where the request has tools; 0 forbids them."""
MAX_TOOL_CALLS = 16
TOOL_CALL_SHARE = 0.6
"""Chance of a tool call where `tool_choice` is auto; it halves with each round of tool results since the last user message."""
COMPLETIONS_MAX_TOKENS = 16


class Prepared(msgspec.Struct, frozen=True):
    """A call ready to run: one entry of `prompts` for each prompt, `n` scripts for each."""

    frame: Frame
    prompts: tuple[array[int], ...]
    scripts: tuple[tuple[Script, ...], ...]
    owner: BlockOwner
    priority: int
    reports_reused: bool
    wants_usage: bool

    @property
    def num_prompt(self) -> int:
        """Prompt tokens, all prompts together."""
        return sum(map(len, self.prompts))

    @property
    def num_completion(self) -> int:
        """Tokens that the scripts will generate."""
        return sum(len(script.pieces) for group in self.scripts for script in group)


class Preparer:
    """Prepares the calls of one engine. `clock` gives Unix time, which only enters `created`."""

    def __init__(self, options: SimOptions, preset: Preset, clock: Callable[[], float]) -> None:
        self._options = options
        self._preset = preset
        self._clock = clock
        self._num_calls = 0

    def chat(self, body: ChatBody, headers: Mapping[str, str]) -> Prepared:
        """Prepare a chat call; raises `SimFault`."""
        check_messages(body.messages)
        functions = read_tools(body.tools)
        prompt = encode(render_chat(body.messages, body.tools or ()))
        limits = self._limits(body, prompt, body.max_completion_tokens or body.max_tokens)
        rounds = 0
        for message in reversed(body.messages):
            if message.role == "user":
                break
            rounds += message.role == "tool"
        scripts: list[Script] = []
        for choice in range(body.n or 1):
            rng = self._rng(prompt, choice, body.seed)
            calls = _choose_tools(rng, body, functions, headers, rounds)
            scripts.append(write_tool_calls(rng, calls, limits) if calls else write_text(rng, limits))
        return self._prepared(body, headers, (prompt,), (tuple(scripts),), is_chat=True)

    def completion(self, body: CompletionBody, headers: Mapping[str, str]) -> Prepared:
        """Prepare a completions call; raises `SimFault`."""
        prompts = _completion_prompts(body)
        scripts: list[tuple[Script, ...]] = []
        for index, prompt in enumerate(prompts):
            limits = self._limits(body, prompt, body.max_tokens or COMPLETIONS_MAX_TOKENS)
            choices = range(index * (body.n or 1), (index + 1) * (body.n or 1))
            scripts.append(tuple(write_text(self._rng(prompt, choice, body.seed), limits) for choice in choices))
        return self._prepared(body, headers, prompts, tuple(scripts), is_chat=False)

    def _limits(self, body: Sampling, prompt: array[int], max_tokens: int | None) -> Limits:
        room = self._preset.max_model_len - len(prompt)
        if not prompt:
            raise SimFault(400, "the prompt must not be empty", param="prompt")
        if room < 1:
            raise SimFault(
                400,
                f"This model's maximum context length is {self._preset.max_model_len} tokens; the prompt has {len(prompt)}.",
                param="input_tokens",
            )
        longest = min(room, max_tokens or room)
        if (body.min_tokens or 0) > longest:
            raise SimFault(400, f"min_tokens must be at most {longest}, not {body.min_tokens}", param="min_tokens")
        if "" in body.stops:
            raise SimFault(400, "stop must not hold an empty text", param="stop")
        return Limits(longest, body.min_tokens or 0, bool(body.ignore_eos), body.stops)

    def _prepared(
        self,
        body: Sampling,
        headers: Mapping[str, str],
        prompts: tuple[array[int], ...],
        scripts: tuple[tuple[Script, ...], ...],
        *,
        is_chat: bool,
    ) -> Prepared:
        self._num_calls += 1
        model = body.model or self._options.model
        own_id = xxhash.xxh3_64_hexdigest(f"{self._options.seed}:{self._num_calls}".encode())
        extra = body.vllm_xargs or {}
        session_id = body.session_id or headers.get("x-session-id") or extra.get("session_id")
        return Prepared(
            frame=Frame(
                id=f"{'chatcmpl' if is_chat else 'cmpl'}-{headers.get('x-request-id') or own_id}",
                created=int(self._clock()),
                model=model,
                is_chat=is_chat,
                reports_cached_tokens=self._options.reports_cached_tokens,
            ),
            prompts=prompts,
            scripts=scripts,
            owner=BlockOwner(
                model=self._options.model,
                lora=model if model in self._options.loras else None,
                salt=body.cache_salt,
                session_id=str(session_id) if session_id else None,
            ),
            priority=_priority(body, headers),
            reports_reused=extra.get("kv_cache_report_mode") == "full",
            wants_usage=body.wants_usage_chunk,
        )

    def _rng(self, prompt: array[int], choice: int, seed: int | None) -> random.Random:
        hasher = xxhash.xxh3_64(f"{self._options.seed}:{seed}:{choice}".encode())
        hasher.update(prompt.tobytes())
        return random.Random(hasher.intdigest())  # noqa: S311 - words of a simulation, reproducible on purpose


def _completion_prompts(body: CompletionBody) -> tuple[array[int], ...]:
    """One text, one list of token ids, or a list of either; raises `SimFault`."""
    prompt = body.prompt
    if not prompt:
        raise SimFault(400, "the prompt must not be empty", param="prompt")
    if isinstance(prompt, str):
        return (encode(prompt),)
    tokens = [part for part in prompt if isinstance(part, int)]
    if not tokens:
        return tuple(
            encode(part) if isinstance(part, str) else array("I", part) for part in prompt if not isinstance(part, int)
        )
    if len(tokens) < len(prompt):
        raise SimFault(400, "a prompt is a text, token ids, or a list of one of these", param="prompt")
    return (array("I", tokens),)


def _priority(body: Sampling, headers: Mapping[str, str]) -> int:
    given = headers.get("x-vllm-priority")
    if given is None:
        return body.priority or 0
    try:
        return int(given)
    except ValueError as error:
        raise SimFault(400, f"X-Vllm-Priority must be an integer, not {given!r}", param="priority") from error


def _choose_tools(
    rng: random.Random, body: ChatBody, functions: tuple[ToolFunction, ...], headers: Mapping[str, str], rounds: int
) -> list[ToolRequest]:
    """The tools that an answer calls: as `tool_choice` says, else as the header says, else by chance."""
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
    count = int(rng.random() < TOOL_CALL_SHARE * 0.5**rounds)
    given = headers.get(HEADER_TOOL_CALLS)
    if given is not None:
        if not given.isdecimal() or int(given) > MAX_TOOL_CALLS:
            raise SimFault(400, f"{HEADER_TOOL_CALLS} must be a number from 0 to {MAX_TOOL_CALLS}", param=HEADER_TOOL_CALLS)
        count = int(given)
    if choice == "required":
        count = max(count, 1)
    return [_request(rng.choice(functions)) for _ in range(count)]


def _request(function: ToolFunction) -> ToolRequest:
    return ToolRequest(function.name, function.parameters or {"type": "object"})
