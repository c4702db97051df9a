"""What a template does that makes the engine's tokens part where the bytes of two prompts agree."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from turnwise.proxy.lint import texts
from turnwise.proxy.lint.causes import Cause
from turnwise.proxy.lint.compare import head_length
from turnwise.types import Prompt, SegmentKind

MAX_PREAMBLE_TOKENS = 64
"""Templates that write a date do so within their first lines; what parts later in a head is what they move there."""


HALF_BLOCK_TOKENS = 8
"""The tokens part behind the common blocks, somewhere in the first that differs: blocks have 16 tokens as a rule."""


class Counted(msgspec.Struct, frozen=True):
    """The tokens of the earlier prompt, None where nobody counted, and how it had grown itself, as far as is known.

    Its first `num_before` segments were the prompt before it, of `tokens_before`.
    """

    tokens: int | None = None
    num_before: int = 0
    tokens_before: int = 0


def template_cause(
    earlier: Prompt, later: Prompt, ends: Sequence[int], segment: int, lost_tokens: int, counted: Counted
) -> Cause:
    """Name it by what stands at `segment`, the first whose tokens are others, and how many of the earlier prompt's were lost.

    `ends` are those of the later prompt, which begins with the bytes of the earlier one.
    """
    kinds = later.kinds
    has_new_user = SegmentKind.USER in kinds[len(earlier.kinds) :]
    may_move_tools = SegmentKind.TOOLS in kinds and has_new_user
    tokens = counted.tokens
    if segment < head_length(kinds):
        # Tools stand first in the prompt as it is read here. Some templates write them before the newest turn of the user.
        moves_tools = may_move_tools and (tokens or 0) - lost_tokens > MAX_PREAMBLE_TOKENS
        return Cause.TEMPLATE_REORDERS if moves_tools else Cause.TEMPLATE_DATE_OR_HEAD
    # Where the tokens part is known by blocks only, so the turn at fault may be the one before or behind.
    around = [at for at in range(max(0, segment - 1), min(segment + 2, len(earlier.kinds))) if _has_reasoning(later, at)]
    if not around:
        return Cause.TEMPLATE_REORDERS
    if not tokens or not counted.num_before:
        return Cause.TEMPLATE_DROPS_REASONING
    return _nearest(earlier, later, ends, lost_tokens - HALF_BLOCK_TOKENS, counted, tokens, may_move_tools=may_move_tools)


def _nearest(
    earlier: Prompt,
    later: Prompt,
    ends: Sequence[int],
    lost_tokens: int,
    counted: Counted,
    tokens: int,
    *,
    may_move_tools: bool,
) -> Cause:
    """The cause that would have lost about so many tokens.

    Templates leave reasoning out of what was the assistant's newest turn, or out of all turns since the user's last: all from
    there on is lost then. To write tools or blanks otherwise behind it loses what stands there, and the tools.
    """
    length, since = len(earlier.kinds), counted.num_before
    since_user = next((at + 1 for at in range(length - 1, 0, -1) if earlier.kinds[at] is SegmentKind.USER), since)
    thoughts = [at for at in range(min(since, since_user), length) if _has_reasoning(later, at)]
    if not thoughts:
        return Cause.TEMPLATE_REORDERS
    token_bytes = ends[length - 1] / tokens
    grown_tokens, grown_bytes = max(0, tokens - counted.tokens_before), max(1, ends[length - 1] - ends[since - 1])

    def behind(byte: int) -> float:
        """Tokens of the earlier prompt behind a byte of it."""
        if byte < ends[since - 1]:
            return grown_tokens + (ends[since - 1] - byte) / token_bytes
        return grown_tokens * (ends[length - 1] - byte) / grown_bytes

    # What an older turn had of it was left out when this prompt was made, and is missing in what it grew by.
    older = next((at for at in range(thoughts[0] - 1, 0, -1) if _has_reasoning(later, at)), None)
    left_out_tokens = 0.0 if older is None else _reasoning_bytes(later, older) / token_bytes
    newest = next((at for at in thoughts if at >= since), thoughts[0])
    dropped = [behind(ends[at - 1]) + left_out_tokens for at in {thoughts[0], newest}]
    others = [0.0, behind(ends[thoughts[-1]])]
    if may_move_tools:
        tools = later.kinds.index(SegmentKind.TOOLS)
        others.append(others[-1] + (ends[tools] - (ends[tools - 1] if tools else 0)) / token_bytes)
    is_dropped = min(abs(tokens - lost_tokens) for tokens in dropped) < min(abs(tokens - lost_tokens) for tokens in others)
    return Cause.TEMPLATE_DROPS_REASONING if is_dropped else Cause.TEMPLATE_REORDERS


def _has_reasoning(prompt: Prompt, at: int) -> bool:
    return prompt.kinds[at] is SegmentKind.ASSISTANT and texts.has_reasoning(texts.decoded(prompt.raws[at]))


def _reasoning_bytes(prompt: Prompt, at: int) -> int:
    """Bytes of a turn that are reasoning; 0 where that cannot be told."""
    rest = texts.without_reasoning(texts.decoded(prompt.raws[at]))
    try:
        return max(0, len(prompt.raws[at]) - len(msgspec.json.encode(rest)))
    except RecursionError:  # JSON that nobody would write is nested as deep as the decoder allows
        return 0
