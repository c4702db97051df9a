"""How long each block is worth keeping: what hints say, and what follows from its place where they say nothing."""

from __future__ import annotations

from turnwise.proxy.programs.graph.blocks import BlockKind, Retention, State
from turnwise.proxy.programs.graph.rows import DURABLE_HINT, EPHEMERAL_HINT, SESSION_HINT

DURABLE_TTL_S = 3600.0
"""A `cache_control` mark that lives as long means a beginning of other programs too; the usual five minutes, of this one."""

HINTED = {
    Retention.SESSION: SESSION_HINT,
    Retention.DURABLE: DURABLE_HINT,
    Retention.EPHEMERAL: EPHEMERAL_HINT,
}
"""Retention classes as rows keep them; 0 is for nothing hinted."""

_BY_HINT = {hint: retention for retention, hint in HINTED.items()}
_HEADS = frozenset({BlockKind.SYSTEM, BlockKind.TOOLS})


def retention(kind: BlockKind, state: State, hint: int, *, is_side: bool) -> Retention:
    """The class of a block; `is_side` is whether only a side call has it: one that nothing followed, beside a conversation."""
    if hint:
        return _BY_HINT[hint]
    if kind in _HEADS:
        return Retention.DURABLE
    if is_side or kind is BlockKind.REASONING or (kind is BlockKind.TOOL_RESULT and state is not State.LIVE):
        return Retention.EPHEMERAL
    return Retention.SESSION
