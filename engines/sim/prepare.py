"""From a chat or completions body to prompt tokens and scripts: everything that is known of a call before it runs."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator, Mapping

import msgspec
import xxhash

from turnwise.engines.sim.answers import CallHead, Writer
from turnwise.engines.sim.blocks import BlockOwner
from turnwise.engines.sim.bodies import (
    ChatBody,
    CompletionBody,
    Sampling,
    SimFault,
    check_messages,
    read_tools,
)
from turnwise.engines.sim.cost import Preset
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.script import Limits, Script, ToolRequest, write_after_thought, write_text, write_tool_calls
from turnwise.engines.sim.template import render_chat
from turnwise.engines.sim.tokens import encode
from turnwise.engines.sim.tool_choice import choose_tools

COMPLETIONS_MAX_TOKENS = 16

MakeWriter = Callable[[CallHead], Writer]


class Prepared(msgspec.Struct, frozen=True):
    """A call ready to run: one entry of `prompts` for each prompt, `n` scripts for each."""

    writer: Writer
    prompts: tuple[array[int], ...]
    scripts: tuple[tuple[Script, ...], ...]
    owner: BlockOwner
    priority: int
    reports_reused: bool

    @property
    def num_prompt(self) -> int:
        """Prompt tokens, all prompts together."""
        return sum(map(len, self.prompts))

    @property
    def num_completion(self) -> int:
        """Tokens that the scripts will generate."""
        return sum(len(script.pieces) for group in self.scripts for script in group)


class Preparer:
    """Prepares the calls of one engine, which `numbers` counts. `clock` gives Unix time: for `created` and a dated template."""

    def __init__(self, options: SimOptions, preset: Preset, clock: Callable[[], float], numbers: Iterator[int]) -> None:
        self._options = options
        self._preset = preset
        self._clock = clock
        self._numbers = numbers
        self._template = options.chat_template

    def chat(self, body: ChatBody, headers: Mapping[str, str], write: MakeWriter) -> Prepared:
        """Prepare a chat call, or one that was turned into it; `write` makes its writer. Raises `SimFault`."""
        check_messages(body.messages)
        functions = read_tools(body.tools)
        prompt = encode(render_chat(body.messages, body.tools or (), self._template, self._clock()))
        limits = self._limits(body, prompt, body.max_completion_tokens or body.max_tokens)
        scripts: list[Script] = []
        for choice in range(body.n or 1):
            rng = self._rng(prompt, choice, body.seed)
            calls = choose_tools(rng, body, functions, headers, self._options.tool_policy)
            scripts.append(self._script(rng, calls, limits))
        return self._prepared(body, headers, write, (prompt,), (tuple(scripts),))

    def completion(self, body: CompletionBody, headers: Mapping[str, str], write: MakeWriter) -> Prepared:
        """Prepare a completions call; raises `SimFault`."""
        prompts = _completion_prompts(body)
        scripts: list[tuple[Script, ...]] = []
        for index, prompt in enumerate(prompts):
            limits = self._limits(body, prompt, body.max_tokens or COMPLETIONS_MAX_TOKENS)
            choices = range(index * (body.n or 1), (index + 1) * (body.n or 1))
            scripts.append(tuple(write_text(self._rng(prompt, choice, body.seed), limits) for choice in choices))
        return self._prepared(body, headers, write, prompts, tuple(scripts))

    def _script(self, rng: random.Random, calls: list[ToolRequest], limits: Limits) -> Script:
        share = self._options.reasoning_share
        if share and rng.random() < share:
            return write_after_thought(rng, calls, limits)
        return write_tool_calls(rng, calls, limits) if calls else write_text(rng, limits)

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
        write: MakeWriter,
        prompts: tuple[array[int], ...],
        scripts: tuple[tuple[Script, ...], ...],
    ) -> Prepared:
        model = body.model or self._options.model
        unique = self._unique(headers)
        extra = body.vllm_xargs or {}
        session_id = body.session_id or headers.get("x-session-id") or extra.get("session_id")
        return Prepared(
            writer=write(CallHead(headers.get("x-request-id") or unique, unique, int(self._clock()), model)),
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
        )

    def _unique(self, headers: Mapping[str, str]) -> str:
        """An id of the next call that is the same on every run, and not the same on two engines."""
        options = self._options
        engine = (options.model, options.host, options.port, options.seed, options.wall_epoch_s)
        return xxhash.xxh3_128_hexdigest(repr((*engine, next(self._numbers), headers.get("x-request-id"))).encode())

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
