"""What a template does that makes the engine's tokens part where the bytes of two prompts agree."""

from __future__ import annotations

from turnwise.proxy.lint import texts
from turnwise.proxy.lint.causes import Cause
from turnwise.proxy.lint.compare import head_length
from turnwise.types import Prompt, SegmentKind

MAX_PREAMBLE_TOKENS = 64
"""Templates that write a date do so within their first lines; what parts later in a head is what they move there."""


def template_cause(earlier: Prompt, later: Prompt, segment: int, common_tokens: int) -> Cause:
    """Name it by what stands at `segment`, the first whose tokens are others, and how many tokens stand before that."""
    kinds = later.kinds
    if segment < head_length(kinds):
        # Tools stand first in the prompt as it is read here. Some templates write them before the newest turn of the user.
        has_new_user = SegmentKind.USER in kinds[len(earlier.kinds) :]
        moves_tools = SegmentKind.TOOLS in kinds and has_new_user and common_tokens > MAX_PREAMBLE_TOKENS
        return Cause.TEMPLATE_REORDERS if moves_tools else Cause.TEMPLATE_DATE_OR_HEAD
    # Where the tokens part is known by blocks only, so the turn at fault may be the one before or behind.
    around = range(max(0, segment - 1), min(segment + 2, len(kinds)))
    if any(kinds[at] is SegmentKind.ASSISTANT and texts.has_reasoning(texts.decoded(later.raws[at])) for at in around):
        return Cause.TEMPLATE_DROPS_REASONING
    return Cause.TEMPLATE_REORDERS
