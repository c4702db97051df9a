"""Calls whose stored blocks do not reach to the end of their prompt: whether what is known says the rest, or is denied."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from turnwise.index.entry_tree import common_length
from turnwise.index.known import Known
from turnwise.index.values import Report
from turnwise.types import BlockHash, PromptChain


class Untaught(StrEnum):
    """Why a call did not teach."""

    INCOMPLETE = "incomplete"
    """Its chain is shorter than its prompt: events are still to come."""
    HEADLESS = "headless"
    """Its chain leads to a block that was never seen or is gone."""
    CACHED = "cached"
    """It found all blocks of its prompt cached, so it stored none that could tell them, and nothing known does."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """The blocks that a call is known to have stored, with those before them as far as they are known, in prompt order.

    Where not `is_whole`, they hang on a block of which nothing is known. `is_stamped` is whether any event bore its stamp.
    """

    blocks: Sequence[BlockHash]
    is_whole: bool
    is_stamped: bool


class Shortfall(msgspec.Struct, frozen=True, gc=False):
    """What is to be made of such a call."""

    is_covered: bool
    """What is known of the prompt reaches as far, and nothing that the call showed denies it."""
    is_refuted: bool
    """What the call showed denies what is known."""
    awaits_prompt: bool
    """The engine has computed some of the prompt, so events are to come that will tell."""
    is_over: bool
    """It has nothing to store that could tell more."""
    why: Untaught


def shortfall(known: Known, prompt: PromptChain, report: Report, stored: Stored, num_blocks: int, block_size: int) -> Shortfall:
    """Judge a call whose prompt has `num_blocks` full blocks and that stored too few."""
    was_cached = _was_cached(report, stored, block_size)
    is_refuted = _is_refuted(known, prompt, report, stored, block_size)
    is_known = known.chain is not None and known.answer is None and known.taught_blocks >= num_blocks
    why = Untaught.CACHED if was_cached else Untaught.INCOMPLETE
    return Shortfall(
        is_covered=stored.is_whole and is_known and not is_refuted,
        is_refuted=is_refuted,
        awaits_prompt=not stored.is_stamped and not was_cached and report.cached_tokens is not None,
        is_over=not stored.is_whole or (was_cached and not _computes(report, block_size)),
        why=why if stored.is_whole else Untaught.HEADLESS,
    )


def _was_cached(report: Report, stored: Stored, block_size: int) -> bool:
    """Whether the engine found all that it may of the prompt, and nothing that it stored was seen."""
    if stored.is_stamped or report.prompt_tokens is None or report.cached_tokens is None:
        return False
    return report.cached_tokens >= (report.prompt_tokens - 1) // block_size * block_size


def _computes(report: Report, block_size: int) -> bool:
    """Whether a call that found its prompt cached fills a block all the same: the prompt's last token, or those decoded."""
    prompt_tokens = report.prompt_tokens or 0
    if report.completion_tokens is None:
        return True
    return report.num_computed_tokens // block_size > (prompt_tokens - 1) // block_size


def _is_refuted(known: Known, prompt: PromptChain, report: Report, stored: Stored, block_size: int) -> bool:
    """Whether a call shows that its prompt is not what is known of it, though not what it is."""
    if known.chain is None or known.answer is not None or not known.taught_blocks:
        return False
    num_tokens, last = report.prompt_tokens, len(prompt.ends) - 1
    if num_tokens is not None and known.anchors:
        boundary, tokens = known.anchors[-1]
        if num_tokens < tokens or (boundary == last and num_tokens != tokens):
            return True
    blocks, taught = stored.blocks, known.taught_blocks
    if stored.is_whole:
        return common_length(known.chain.blocks, blocks, taught) < min(taught, len(blocks))
    if num_tokens is None or report.completion_tokens is None:
        return False
    # Had it been what is known, the blocks would begin within that, or hang on its last one.
    begins_within = report.num_computed_tokens // block_size - len(blocks) < taught
    return begins_within and set(blocks).isdisjoint(known.chain.blocks[:taught])
