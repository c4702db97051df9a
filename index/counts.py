"""Counters of the whole index; they only ever rise, whatever replicas and domains come and go."""

from __future__ import annotations

from collections import Counter

from turnwise.index.values import AnswerFate, AnswerKind


class Counts:
    """What happened since the start."""

    __slots__ = (
        "answers",
        "num_contradicted",
        "num_evicted_blocks",
        "num_holes",
        "num_missing_heads",
        "num_reports_asked",
        "num_splits",
        "num_taught",
        "num_untaught",
    )

    def __init__(self) -> None:
        self.num_taught = 0
        self.num_untaught = 0
        self.num_contradicted = 0
        self.num_missing_heads = 0
        self.num_reports_asked = 0
        self.answers: dict[AnswerKind, Counter[AnswerFate]] = {}
        self.num_splits = 0
        self.num_holes = 0
        self.num_evicted_blocks = 0
