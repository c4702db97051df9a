"""What is kept of a call so that the graph of its program can be made later, beside the digests of the newest prompt."""

from __future__ import annotations

import msgspec

from turnwise.types import Answer, LastAnswer


class Hinted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The hints of one call."""

    retention: int = 0
    """Class of all that is new with the call, its answer included, as rows keep it; 0 for none."""
    up_to: tuple[tuple[int, int], ...] = ()
    """Segments with the class of all up to them."""
    priority: int | None = None
    output_tokens: int | None = None
    speculative_prefill: bool | None = None
    cache_key: str | None = None


class Shape(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a call's prompt and answer were."""

    num_segments: int
    """Of the prompt; their digests are those that the next prompt of its conversation begins with."""
    repeats: LastAnswer | None
    """The last answer within the prompt."""
    says: Answer | None
    """What answered it; None where that is not known."""
    hinted: Hinted | None
