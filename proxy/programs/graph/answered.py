"""Answers in a program's graph: added as they were generated, and claimed by the prompt that repeats them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from turnwise.proxy.programs.graph.blocks import BlockKind, State
from turnwise.proxy.programs.graph.rows import KINDS, MAX_TOKENS, NOT_KNOWN, Rows, mark_of, said_digest
from turnwise.proxy.programs.values import Call, Times
from turnwise.types import Answer, PromptChain, SegmentKind

_REASONING, _TEXT, _CALL = (mark_of(kind) for kind in (BlockKind.REASONING, BlockKind.ASSISTANT, BlockKind.TOOL_CALL))
_LARGEST_HASH = (1 << 64) - 1


def add_answer(rows: Rows, row: int, origin: int, call: Call, tokens_per_byte: float, hint: int) -> int:
    """Add what answered the prompt that ends with `row`: reasoning, text and each tool call; returns the last row of it.

    That is `row` where nothing was generated. Tool calls have tokens by their size, reasoning and text by the time each took.
    """
    said = None if call.shape is None else call.shape.says
    sizes = [max(1, round(tool.num_bytes * tokens_per_byte)) for tool in call.tools]
    total = sum(sizes) if call.completion_tokens is None else min(call.completion_tokens, MAX_TOKENS)
    if said is None:
        if total <= 0 and not sizes:
            return row
        digests = [NOT_KNOWN] * (1 + len(sizes))
        kinds, weights = [_TEXT] + [_CALL] * len(sizes), [max(0, total - sum(sizes)), *sizes]
    else:
        digests, kinds, weights = [], [], []
        rest = max(0, total - sum(sizes))
        reasoning = round(rest * _reasoning_share(call.times, said))
        if said.reasoning:
            digests.append(said_digest(said.reasoning))
            kinds.append(_REASONING)
            weights.append(reasoning)
        if said.text:
            digests.append(said_digest(said.text))
            kinds.append(_TEXT)
            weights.append(rest - reasoning)
        if said.calls:
            sizes = sizes or [rest - reasoning]
            digests += [said_digest((said.calls + later) & _LARGEST_HASH) for later in range(len(sizes) - 1, -1, -1)]
            kinds += [_CALL] * len(sizes)
            weights += sizes
    weight = sum(weights)
    start = rows.end(row)
    ends = [start + (done * total // weight if weight else 0) for done in accumulate(weights)]
    last = rows.extend(row, digests, ends, kinds, origin)
    if hint:
        for part in range(last + 1 - len(kinds), last + 1):
            rows.set_hint(part, hint)
    return last


def claimed_answer(
    rows: Rows, chain: PromptChain, kinds: Sequence[SegmentKind], depth: int, row: int, tip: int
) -> tuple[int, int]:
    """Find in a prompt, of which the first `depth` segments are known up to `row`, the answer that is there already.

    Returns depth and row behind it, as they were given where it is not there. `tip` is what the prompt's line goes on from: an
    answer that nobody could read is taken to be what follows there.
    """
    turn = chain.answer
    if turn is not None and turn.first == depth and (key := turn.said.calls or turn.said.text):
        digest = said_digest(key)
        at = rows.find(digest)
        while at >= 0:
            if (first := _first_part(rows, at, row, turn.said)) >= 0:
                return turn.last + 1, _claim(rows, first, at, chain.digests[depth : turn.last + 1])
            at = rows.find(digest, at)
    end = depth
    while end < len(kinds) and kinds[end] is SegmentKind.ASSISTANT:
        end += 1
    if end > depth and tip > row and rows.digest(tip) == NOT_KNOWN:
        first = _first_of(rows, tip)
        if rows.parent(first) == row:
            return end, _claim(rows, first, tip, chain.digests[depth:end])
    return depth, row


def _reasoning_share(times: Times, said: Answer) -> float:
    """Share of an answer, less its tool calls, that was reasoning: engines do not say, but tokens come evenly."""
    if not said.reasoning or not said.text:
        return 1.0 if said.reasoning else 0.0
    first, visible, last = times.first_token, times.first_visible, times.last_byte
    if first is None or visible is None or last is None or last <= first:
        return 0.5
    return min(1.0, max(0.0, (visible - first) / (last - first)))


def _first_of(rows: Rows, last: int) -> int:
    """The first row of the answer that ends with row `last`."""
    first, origin = last, rows.origin(last)
    while first and rows.parent(first) == first - 1 and rows.origin(first - 1) == origin and rows.is_said(first - 1):
        first -= 1
    return first


def _first_part(rows: Rows, last: int, row: int, said: Answer) -> int:
    """The first row that a prompt repeats of the answer which ends with row `last` and follows `row`; -1 where it says else.

    Clients may leave reasoning out: then it is a row that nothing goes on from.
    """
    first = _first_of(rows, last)
    if rows.parent(first) != row:
        return -1
    text, reasoning = 0, -1
    for part in range(first, last + 1):
        kind = KINDS[rows.kind(part)]
        if kind is BlockKind.ASSISTANT:
            text = int.from_bytes(rows.digest(part)[:8])
        elif kind is BlockKind.REASONING:
            reasoning = part
    if text != said.text:
        return -1
    if reasoning < 0:
        return first
    if said.reasoning:
        return first if rows.digest(reasoning) == said_digest(said.reasoning) else -1
    rest, num_tokens = first + 1, rows.end(first) - rows.end(row)
    rows.use(first, -1)
    rows.set_state(first, State.SUPERSEDED)
    rows.move(rest, row)
    for part in range(rest, last + 1):
        rows.set_end(part, rows.end(part) - num_tokens)
    return rest


def _claim(rows: Rows, first: int, last: int, digests: Sequence[bytes]) -> int:
    """Give an answer's rows the digests of the segments that repeat it; returns the last row of it.

    Where there are more segments than rows, they follow with no tokens of their own; where there are fewer, the last rows have
    them.
    """
    num_rows = last + 1 - first
    for part, digest in zip(range(max(first, last + 1 - len(digests)), last + 1), digests, strict=False):
        rows.name(part, digest)
    rest = digests[num_rows:]
    if not rest:
        return last
    mark = mark_of(KINDS[rows.kind(last)])
    return rows.extend(last, rest, [rows.end(last)] * len(rest), [mark] * len(rest), rows.origin(last))
