"""The values that the index takes and gives, besides the shared vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from turnwise.index.closed_loop import Finding, SourceStats
from turnwise.types import Answer, ReplicaId, Usage


class DomainKey(msgspec.Struct, frozen=True):
    """What replicas must agree on for one prompt to have the same block hashes on all of them.

    A replica whose block size or algorithm is unknown forms a domain by itself.
    """

    model: str
    block_size: int | None = None
    algorithm: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all of it is known."""
        return self.block_size is not None and self.algorithm is not None


class Report(msgspec.Struct, frozen=True, gc=False):
    """What an engine said of one call when it had answered; None where it did not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    answer: Answer | None = None

    @classmethod
    def of(cls, usage: Usage | None, answer: Answer | None) -> Report:
        """What `usage` counts, and what the answer said."""
        if usage is None:
            return cls(answer=answer)
        return cls(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, answer)

    @property
    def num_computed_tokens(self) -> int:
        """Tokens that are in the cache when it has answered: the last one that is drawn is never computed."""
        return (self.prompt_tokens or 0) + max(0, (self.completion_tokens or 0) - 1)


class AnswerKind(StrEnum):
    """What an answer holds that a template may render otherwise than it was generated."""

    PLAIN = "plain"
    CALLS = "calls"
    """Tool calls, and no reasoning."""
    REASONING = "reasoning"
    """Reasoning that the next turn carries too."""
    REASONING_DROPPED = "reasoning_dropped"
    """Reasoning that the next turn does not carry, or says in another place."""


class AnswerFate(StrEnum):
    """What the next turn of a conversation showed of the answer before it."""

    JOINED = "joined"
    """It is rendered as it was generated: the blocks decoded for it are its blocks."""
    BROKEN = "broken"
    """It is rendered otherwise."""
    NOT_SAID = "not_said"
    """The client put something else in its place."""


class Lesson(msgspec.Struct, frozen=True, gc=False):
    """What one settled call taught."""

    is_taught: bool = False
    """Its prompt's block chain is now known."""
    is_pending: bool = False
    """Its events have not all come; they may still teach."""
    is_contradiction: bool = False
    """The engine rendered it otherwise than it, or its shorter form, had taught."""
    broke_at: int | None = None
    """Where that is so, the segment of the prompt in which the two part: exact to a block where its ends are known."""
    lost_tokens: int = 0
    """Tokens, in whole blocks, of what was known before and does not serve this prompt."""
    answer: AnswerFate | None = None
    """What it showed of the answer before it; None where it showed nothing."""
    answer_kind: AnswerKind | None = None
    finding: Finding | None = None
    """How the decision's belief compares with what the engine found; None where that is not known, or not yet."""
    has_restarted: bool = False
    """It made certain that the replica's cache was emptied though nobody had told."""


UNTAUGHT = Lesson()
PENDING = Lesson(is_pending=True)
TAUGHT = Lesson(is_taught=True)


class ReplicaStats(msgspec.Struct, frozen=True, gc=False):
    """What is held of one replica."""

    num_blocks: int
    """In the GPU."""
    num_dram_blocks: int
    num_disk_blocks: int
    num_copies: int
    """Blocks that the GPU holds besides the first of each hash."""
    num_blocks_elsewhere: int
    """Blocks in other media, or of other groups there, as counted from events; they are no residency."""
    elsewhere: tuple[str, ...]
    """Which media these are."""
    num_predicted_tokens: int
    is_stale: bool
    is_predicted_only: bool
    """Its cache has several groups or kinds, so block chains do not tell what it can reuse."""
    is_split: bool
    """It hashed a known prompt otherwise than its domain, and stands alone since."""
    num_headless: int = 0
    """Beginnings of prompts that it holds and of which no block is known."""
    loop: tuple[SourceStats, ...] = ()
    """How what was believed of it compares with what its engine reports, for each source that decided a call."""
    complaint: str = ""
    """Which of its sources are distrusted, and why; empty where none is."""
    effective_tokens: int = 0
    """Tokens that its cache holds in effect: as stated at first, then as its reports of cached tokens show."""
    offload_tokens: int = 0
    """Those of them beyond the size it states: a slower tier."""
    evicted_tokens_per_s: float = 0.0
    """Tokens believed to leave its cache a second, over the last minute or so."""
    num_silent_restarts: int = 0
    """How often its cache was found empty though nobody had told."""
    emptied_at: float | None = None
    """When that was last found, on the clock of whoever asks."""
    drops_last_block: bool = False
    """Whether its engine was seen to compute the last block of its hits anew."""
    num_unexplained_losses: int = 0
    """Reports of fewer cached tokens than evictions or a restart explain: it renders otherwise, or it lies."""


class IndexStats(msgspec.Struct, frozen=True, gc=False):
    """What is remembered and how teaching goes; counts of lessons are since the start."""

    replicas: Mapping[ReplicaId, ReplicaStats]
    num_domains: int
    num_splits: int
    num_unique_blocks: int
    num_evicted_blocks: int
    num_holes: int
    num_block_bytes: int
    num_evidence_entries: int
    num_evidence_bytes: int
    num_predicted_segments: int
    num_predicted_bytes: int
    num_taught: int
    num_untaught: int
    num_contradicted: int
    num_pending: int
    num_missing_heads: int
    num_templates_whole_only: int = 0
    """Templates that contradicted themselves, so that of their prompts only those that come again whole are believed."""
    num_reports_asked: int = 0
    answers: Mapping[AnswerKind, Mapping[AnswerFate, int]] = {}
    """What became of answers when their next turn was taught."""
