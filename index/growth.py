"""How much of a prompt is found when it has grown, under a template that does not always render it as it did before.

What breaks a prefix is the same at every turn: old reasoning is dropped, tools move behind the last user turn. So of a few ways
of reading a growth, the one that erred least lately is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median_low

import msgspec

from turnwise.index.answers import Answers
from turnwise.index.entries import BlockChain, Entry
from turnwise.index.entry_tree import common_length
from turnwise.index.trust import Growth, GrowthShape, Trust
from turnwise.types import Digest, PromptChain

KEPT_PER_GROWTH = 0.9
"""Weight left to earlier errors with each growth: those of the last ten or so tell."""

MAX_LOSSES = 9
"""Growths that broke of which it is remembered what they lost; an odd number has one in the middle."""


class Grown(msgspec.Struct, frozen=True, gc=False):
    """A prompt that goes on from a shorter one, and how such growths fared; all counts are of blocks."""

    record: Growth
    chain: BlockChain
    """Of the shorter prompt."""
    asked: int
    """How many of them it is, or is estimated to be."""
    answered: int
    """The same with its answer, where that is believed to join."""

    @property
    def reach(self) -> int:
        """How many are believed to serve the longer prompt."""
        errors = self.record.errors
        return self._readings[errors.index(min(errors))]

    def learn(self, chain: BlockChain, num_blocks: int) -> None:
        """The longer prompt is `num_blocks` of `chain`."""
        found = common_length(self.chain.blocks, chain.blocks, num_blocks)
        errors, losses = self.record.errors, self.record.losses
        for which, reading in enumerate(self._readings):
            errors[which] = errors[which] * KEPT_PER_GROWTH + abs(reading - found)
        if found < self.asked:
            losses.append(self.asked - found)
            del losses[:-MAX_LOSSES]

    @property
    def _readings(self) -> tuple[int, int, int]:
        """All of it with its answer, all of it, and all but what those that broke have lost."""
        losses = self.record.losses
        return self.answered, self.asked, max(0, self.asked - median_low(losses)) if losses else self.asked


class Growths:
    """How prompts under templates that have contradicted themselves go on from what is known."""

    def __init__(self, entries: Mapping[Digest, Entry], trust: Trust, answers: Answers) -> None:
        self._entries = entries
        self._trust = trust
        self._answers = answers

    def of(self, prompt: PromptChain, deepest: int, block_size: int) -> Grown | None:
        """How `prompt` goes on from its `deepest` known boundary.

        None where it does not, where two prompts tell, or where its template has not contradicted itself.
        """
        if not 0 <= deepest < len(prompt.digests) - 1:
            return None
        entry, turn = self._entries[prompt.digests[deepest]], prompt.answer
        whole = entry.num_tokens
        if whole is None and entry.shared_blocks is not None:
            return None
        shape = GrowthShape(
            is_whole=whole is not None,
            has_calls=turn is not None and turn.first >= deepest and turn.said.calls != 0,
            has_reasoning=entry.has_reasoning,
            has_changed=entry.chain.taught_at < self._trust.changed_at(prompt.template),
        )
        record = self._trust.growth(prompt.template, shape)
        if record is None:
            return None
        asked = entry.estimated_blocks if whole is None else whole // block_size
        known = None if whole is None else self._answers.believed(prompt, deepest, block_size)
        return Grown(record, entry.chain, asked, asked if known is None else known.num_blocks)

    def is_at_head(self, prompt: PromptChain, deepest: int, common_tokens: int, num_tokens: int) -> bool:
        """Whether a prompt that has only so many tokens in common with what was taught parts from it in what others share.

        Its first `deepest` boundaries were known.
        """
        digests, ends = prompt.digests, prompt.ends
        for boundary in range(deepest + 1):
            if self._entries[digests[boundary]].num_children > 1:
                return common_tokens < num_tokens * ends[boundary] // ends[-1]
        return not common_tokens
