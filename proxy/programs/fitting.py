"""Which of the calls with one prompt a call goes on from, or is another try of."""

from __future__ import annotations

from collections.abc import Sequence

from turnwise.proxy.programs.lines import FAILED, RUNNING, Node
from turnwise.types import Answer

RETRY_WITHIN_S = 60.0
"""How long after a call failed the same prompt is taken for another try, where the client does not say so."""

MAX_TRIED = 16
"""Calls of one prompt, the newest, of which one may be another try."""

_BY_ID, _BY_ANSWER, _UNKNOWN, _OTHER_ANSWER = 7, 5, 3, 1
"""What tells that a call is gone on from. One that nobody continued ranks above those that are told by the same, and by one."""


def said_of(answer: Answer | None) -> int:
    """What of an answer clients repeat as it was: its tool calls, else its text; 0 where that is not known."""
    return 0 if answer is None else answer.calls or answer.text


def tried(nodes: Sequence[Node], now: float, *, is_retry: bool) -> Node | None:
    """The call of these of which one with the same prompt is another try; `is_retry` is whether its client says that it is."""
    running: Node | None = None
    for node in reversed(nodes[-MAX_TRIED:]):
        if node.is_continued:
            continue
        if node.state is FAILED and (is_retry or now - node.ended_at <= RETRY_WITHIN_S):
            return node
        if node.state is RUNNING and running is None:
            running = node
    return running if is_retry else None


def fitting(nodes: Sequence[Node], said: int, results: Sequence[str]) -> list[Node]:
    """Which of these calls, of one prompt, may be gone on from; several where nothing tells them apart.

    `said` is what the answer said that stands in the prompt, `results` are ids of tool calls whose results it brings. Clients
    may change what was said, so where neither tells, it is the newest call that nobody continued, if it ran after the others.
    """
    if len(nodes) == 1 and not nodes[0].is_continued and not nodes[0].tools:
        return [nodes[0]]
    best: list[Node] = []
    highest = 1
    ids = frozenset(results)
    for node in reversed(nodes):
        rank = _rank(node, said, ids)
        if rank > highest:
            best, highest = [node], rank
        elif rank == highest:
            best.append(node)
    if highest >= _BY_ANSWER or len(best) < 2:
        return best[:1]
    newest, rival = best[:2]
    is_told_by_time = rival.state is not RUNNING and rival.ended_at <= newest.began_at
    return best[:1] if is_told_by_time else best


def _rank(node: Node, said: int, results: frozenset[str]) -> int:
    """How well a call fits as the one gone on from; 0 where it is not that one."""
    is_free = not node.is_continued
    has_ids = bool(results) and any(tool.id for tool in node.tools)
    if has_ids and any(tool.id in results for tool in node.tools):
        return _BY_ID + is_free
    if said and node.said == said:  # whatever its tool calls are named: some clients give them other ids
        return _BY_ANSWER + is_free
    if has_ids or (said and node.said and node.is_opening and node.is_continued):
        return 0
    return (_OTHER_ANSWER if said and node.said else _UNKNOWN) + is_free
