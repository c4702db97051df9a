"""Where the last assistant turn of a conversation stands in its prompt, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from turnwise.dialects.answer import MAX_SAID_BYTES
from turnwise.dialects.assistant import Heard, said_in
from turnwise.dialects.prompt import num_pieces
from turnwise.types import LastAnswer, Raw, SegmentKind

MAX_TURNS_LOOKED_AT = 64
"""Turns behind it, and turns of it: results of tools called at once, and the items of one answer, mostly fewer than ten."""

ASSISTANT = SegmentKind.ASSISTANT


def last_answer(
    kinds: Sequence[SegmentKind],
    raws: Sequence[Raw],
    hear: Callable[[Raw, Heard], None],
    num_before: int,
    num_segments: int,
) -> LastAnswer | None:
    """The last run of assistant turns that another turn follows; None where there is none, or what it says cannot be told.

    The prompt has `num_segments`, of which `num_before` stand before these turns, and the others are theirs.
    """
    last = len(kinds) - 1
    lowest = max(0, last - MAX_TURNS_LOOKED_AT)
    while last >= lowest and kinds[last] is ASSISTANT:  # it is to be continued, and is no answer yet
        last -= 1
    while last >= lowest and kinds[last] is not ASSISTANT:
        last -= 1
    if last < lowest:
        return None
    first = last
    while first and kinds[first - 1] is ASSISTANT:
        first -= 1
        if last - first > MAX_TURNS_LOOKED_AT:
            return None
    turns = raws[first : last + 1]
    said = said_in(turns, hear) if sum(map(len, turns)) <= MAX_SAID_BYTES else None
    if said is None:
        return None
    if num_segments == num_before + len(kinds):  # no turn is cut in pieces, as hardly any is
        return LastAnswer(num_before + first, num_before + last, said)
    end = num_segments - sum(map(num_pieces, raws[last + 1 :]))
    return LastAnswer(end - sum(map(num_pieces, turns)), end - 1, said)
