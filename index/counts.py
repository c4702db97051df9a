"""Counters of the whole index; they only ever rise, whatever replicas and domains come and go."""

from __future__ import annotations


class Counts:
    """What happened since the start."""

    __slots__ = (
        "num_contradicted",
        "num_evicted_blocks",
        "num_holes",
        "num_missing_heads",
        "num_splits",
        "num_taught",
        "num_untaught",
    )

    def __init__(self) -> None:
        self.num_taught = 0
        self.num_untaught = 0
        self.num_contradicted = 0
        self.num_missing_heads = 0
        self.num_splits = 0
        self.num_holes = 0
        self.num_evicted_blocks = 0
