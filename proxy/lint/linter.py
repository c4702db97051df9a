"""The face: each answered call goes in, and what broke its prefix comes out."""

from __future__ import annotations

from typing import Protocol, Self

import msgspec
from xxhash import xxh3_64_intdigest

from turnwise.proxy.lint import texts
from turnwise.proxy.lint.awaited import Awaited, Onward
from turnwise.proxy.lint.causes import Cause
from turnwise.proxy.lint.compare import Views, first_difference, head_length
from turnwise.proxy.lint.conversations import BYTES_PER_LINE, BYTES_PER_SEGMENT, Conversations, Key, Line
from turnwise.proxy.lint.diagnose import Break, diagnose
from turnwise.proxy.lint.template import Counted, template_cause
from turnwise.proxy.lint.values import Finding, Followed, LinterStats, Step
from turnwise.settings import LintSettings, Settings
from turnwise.types import Prompt, PromptChain, SegmentKind, Usage

QUIET_S = 60.0
"""How long a cause that was told of is not told of again in one conversation."""

MAX_COMPARED = 16
"""Prompts that a prompt is compared with byte by byte, of those that share most with it; the newest."""

MAX_NAME_CHARS = 64
MAX_SESSION_CHARS = 256
"""A longer name of a session stands for itself by its hash."""

AWAITED_SHARE = 8
"""Part of the room that prompts may take besides whose successors' lessons are still to come."""

LARGEST_SHARE = 4
"""A prompt that takes more than this part of the room is not kept: it would push out everybody else's."""

_USER, _ASSISTANT = SegmentKind.USER, SegmentKind.ASSISTANT  # to look them up in their enum takes ten times as long as a name
_IGNORED, _NEW, _EXTENDS = Followed(Step.IGNORED), Followed(Step.NEW), Followed(Step.EXTENDS)


class Call(Protocol):
    """What the linter reads of a call; a `Request` is one."""

    @property
    def call_id(self) -> str:
        """By which its lesson is known if that comes later."""

    @property
    def body(self) -> bytes:
        """Its bytes, which the prompt's segments are views of."""

    @property
    def prompt(self) -> Prompt | None:
        """Its segments; None where its dialect does not understand it."""

    @property
    def chain(self) -> PromptChain | None:
        """Their digests."""

    @property
    def session(self) -> str | None:
        """Its session as the client names it; None where it does not."""

    @property
    def continues(self) -> tuple[str, ...]:
        """Ids of state that it continues, whose text is not in the prompt."""


class Parted(Protocol):
    """What the index says of a prompt whose bytes extend another's: where the engine's tokens did not; a `Lesson` is one."""

    @property
    def broke_at(self) -> int | None:
        """The segment; None where they went on, or where nobody knows."""

    @property
    def lost_tokens(self) -> int:
        """Tokens behind it that had been computed."""

    @property
    def is_pending(self) -> bool:
        """Whether that is to be told yet."""


class Linter:
    """Compares the successive prompts of each conversation; reports, and never changes one.

    A prompt that extends the one before costs a hash of its first user turn, a look-up and a comparison. Bytes are compared
    where it does not.
    """

    def __init__(self, settings: LintSettings, bytes_per_token: float) -> None:
        self._max_prompt_bytes = settings.max_bytes // LARGEST_SHARE
        self._bytes_per_token = bytes_per_token
        self._conversations = Conversations(settings.max_bytes)
        self._awaited = Awaited(settings.max_bytes // AWAITED_SHARE)
        self._num_too_large = 0

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """A linter as the settings want it; None where they want none."""
        return cls(settings.lint, settings.index.bytes_per_token) if settings.lint.max_bytes else None

    @property
    def stats(self) -> LinterStats:
        """What is held now."""
        return LinterStats(
            self._conversations.num_bytes + self._awaited.num_bytes, len(self._conversations), self._num_too_large
        )

    def check(self, call: Call, now: float, usage: Usage | None = None, parted: Parted | None = None) -> Finding | None:
        """Compare an answered call with those before it; returns how it broke its prefix, None where it did not.

        `usage` is what the engine counted, `parted` what it taught of where its tokens go.
        """
        return self.follow(call, now, usage, parted).finding

    def check_late(self, call_id: str, parted: Parted, now: float) -> Finding | None:
        """Take in what a call that was checked before has taught since; returns how it broke its prefix, None where not.

        Of a call that was given up meanwhile nothing is found.
        """
        onward = self._awaited.pop(call_id)
        if onward is None or parted.broke_at is None:
            return None
        line, previous, counted, prompt, chain = onward.line, onward.previous, onward.counted, onward.prompt, onward.chain
        return _parted(line, previous, counted, prompt, chain, parted.broke_at, parted.lost_tokens, now).finding

    def follow(self, call: Call, now: float, usage: Usage | None = None, parted: Parted | None = None) -> Followed:
        """Compare an answered call with those before it, and say how it relates to them."""
        prompt, chain = call.prompt, call.chain
        if prompt is None or chain is None or call.continues or not chain.digests:
            return _IGNORED
        kinds = prompt.kinds
        key: str | int
        if call.session is not None:
            key = call.session if len(call.session) <= MAX_SESSION_CHARS else xxh3_64_intdigest(call.session.encode())
        elif _USER in kinds:
            key = xxh3_64_intdigest(prompt.raws[kinds.index(_USER)])
        else:
            return _IGNORED
        tokens = None if usage is None else usage.prompt_tokens
        num_bytes = BYTES_PER_LINE + len(call.body) + BYTES_PER_SEGMENT * len(kinds)
        line = self._conversations.extended_by(key, chain)
        if line is not None:
            followed = _EXTENDS
            if parted is not None and parted.broke_at is not None:
                followed = _parted(line, line.prompt, line.counted, prompt, chain, parted.broke_at, parted.lost_tokens, now)
            elif parted is not None and parted.is_pending:
                self._awaited.put(call.call_id, Onward(line, line.prompt, line.counted, prompt, chain, line.num_bytes))
            if num_bytes <= self._max_prompt_bytes:
                self._conversations.update(line, prompt, chain, tokens, num_bytes)
            else:
                self._num_too_large += 1
                self._conversations.forget(line)
            return followed
        if num_bytes > self._max_prompt_bytes:
            self._num_too_large += 1
            return _NEW
        return self._begin(call, prompt, chain, key, usage, num_bytes, now)

    def _begin(
        self, call: Call, prompt: Prompt, chain: PromptChain, key: str | int, usage: Usage | None, num_bytes: int, now: float
    ) -> Followed:
        """A prompt that extends none: the first of a conversation, a branch, or one that broke."""
        keys = (key,) if call.session is not None else _keys(prompt, chain, key)
        views, broken, found = self._broken(prompt, chain, keys)
        followed = _NEW
        if broken is not None and found is not None:
            followed = Followed(Step.BREAKS, self._finding(broken, found, chain, usage, now), broken.prompt)
        name = key[:MAX_NAME_CHARS] if isinstance(key, str) else f"{key:016x}"
        line = Line(name if broken is None else broken.name, keys, broken)
        line.hold(prompt, chain, None if usage is None else usage.prompt_tokens, num_bytes, views)
        self._conversations.begin(line)
        return followed

    def _broken(
        self, prompt: Prompt, chain: PromptChain, keys: tuple[Key, ...]
    ) -> tuple[Views | None, Line | None, Break | None]:
        """The line that this prompt broke: of those that share most with it, the one whose answers it repeats most of."""
        if _ASSISTANT not in prompt.kinds:
            return None, None, None  # nothing that was computed for it can stand in it again
        lines = [(first_difference(line.chain, chain), line) for line in self._conversations.of(keys)]
        if not lines:
            return None, None, None
        deepest = max(position for position, _ in lines)
        views = Views.of(prompt, chain)
        broken: Line | None = None
        found: Break | None = None
        for line in [line for position, line in lines if position == deepest][:MAX_COMPARED]:
            one = diagnose(line.views, views, deepest)
            if one is not None and (found is None or one.repeated_bytes > found.repeated_bytes):
                broken, found = line, one
        return views, broken, found

    def _finding(self, line: Line, found: Break, chain: PromptChain, usage: Usage | None, now: float) -> Finding:
        place = found.place
        share = max(0, min(line.chain.ends[-1], chain.ends[-1]) - place.prompt_byte) / line.chain.ends[-1]
        tokens = line.chain.ends[-1] / self._bytes_per_token if line.counted.tokens is None else line.counted.tokens
        lost = round(tokens * share)
        if usage is not None and usage.cached_tokens is not None:
            lost = min(lost, max(0, usage.prompt_tokens - usage.cached_tokens))
        return Finding(
            line.name,
            found.cause,
            place.segment,
            place.kind,
            place.segment_byte,
            place.prompt_byte,
            lost,
            _is_repeated(line, found.cause, now),
        )


def _parted(
    line: Line,
    previous: Prompt,
    counted: Counted,
    prompt: Prompt,
    chain: PromptChain,
    segment: int,
    lost_tokens: int,
    now: float,
) -> Followed:
    """The engine's tokens part where the bytes do not, so the cause is in its template."""
    segment = min(segment, len(prompt.kinds) - 1)
    cause = template_cause(previous, prompt, chain.ends, segment, lost_tokens, counted)
    byte = chain.ends[segment - 1] if segment else 0
    finding = Finding(line.name, cause, segment, prompt.kinds[segment], 0, byte, lost_tokens, _is_repeated(line, cause, now))
    return Followed(Step.BREAKS, finding, previous)


def _keys(prompt: Prompt, chain: PromptChain, first_user: Key) -> tuple[Key, ...]:
    """What tells a conversation beside its first user turn: that turn in any spelling, the model's first answer, the head."""
    kinds = prompt.kinds
    keys: dict[Key, None] = {first_user: None}
    said = texts.decoded(prompt.raws[kinds.index(_USER)])
    if said is not None:
        keys[xxh3_64_intdigest(msgspec.json.encode(said), seed=2)] = None
    if _ASSISTANT in kinds:
        keys[xxh3_64_intdigest(prompt.raws[kinds.index(_ASSISTANT)], seed=1)] = None
    head = head_length(kinds)
    if head:
        keys[chain.digests[head - 1]] = None
    return tuple(keys)


def _is_repeated(line: Line, cause: Cause, now: float) -> bool:
    since = line.said.get(cause)
    if since is not None and now - since < QUIET_S:
        return True
    line.said[cause] = now
    return False
