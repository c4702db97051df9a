"""The closed loop: what was believed of a cache against what its engine reports, and how far each source is trusted."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.types import HitSource

KEPT_PER_CALL = 0.9
"""Weight left to what a source claimed before each call: its score follows the last ten calls or so."""

CREDIT_TOKENS = 1000.0
"""Tokens of right claims that a source is given to start with, so that its first slip does not condemn it."""

TOLERATED_SHARE = 0.1
"""Share of lately claimed tokens that may be missing before a source weighs less: chance, and not a lie."""

DISTRUSTED_BELOW = 0.5
"""Weight below which what a source claims is worth less than what it misleads."""


LAST_BLOCK_GAIN = 0.1
"""Weight of a hit in the share of those that were a block short."""

DROPS_ABOVE, KEEPS_BELOW = 0.8, 0.5
"""Shares above which the last block is taken to be dropped, and below which no longer: sixteen hits in a row, and seven.
Without events one hit in sixteen is a block short, for the last token that was generated is in no block."""


class Verdict(StrEnum):
    """How a decision's belief compares with what the engine found."""

    RIGHT = "right"
    EVICTED_WHILE_WAITING = "evicted_while_waiting"
    """The index was right when the engine looked; blocks had gone since the decision."""
    ARRIVED_WHILE_WAITING = "arrived_while_waiting"
    """The index was right when the engine looked; blocks had come since the decision."""
    WRONG = "wrong"
    """The index was wrong when the engine looked, or nobody knows what it said then."""


# To look them up in their enums takes ten times as long as a name, and each call asks for several.
_RIGHT, _WRONG = Verdict.RIGHT, Verdict.WRONG
_CONFIRMED, _PREDICTED = HitSource.CONFIRMED, HitSource.PREDICTED


class Finding(msgspec.Struct, frozen=True, gc=False):
    """What one call showed; `scheduled_tokens` is what the index said when the engine looked, None where that is not known."""

    verdict: Verdict
    scheduled_tokens: int | None = None


class SourceStats(msgspec.Struct, frozen=True, gc=False):
    """What the decisions that went by one source added up to at one replica, since the start; tokens of prompts.

    Those with an error of more than a block count it whole under one of three: evicted or arrived while the call waited for the
    engine, or wrong.
    """

    source: HitSource
    weight: float
    """What a token that it claims is worth, in [0, 1]."""
    num_calls: int
    num_checked: int
    """Calls of which it is known what the index said when the engine looked."""
    num_right_when_scheduled: int
    """Those of them for which it was right then, within one block."""
    prompt_tokens: int
    predicted_tokens: int
    reported_tokens: int
    error_tokens: int
    """Sum of the absolute differences between predicted and reported."""
    evicted_tokens: int
    arrived_tokens: int
    wrong_tokens: int

    @property
    def error_tokens_by_verdict(self) -> dict[Verdict, int]:
        """The part of the error that is more than a block's, by what it was."""
        return {
            Verdict.EVICTED_WHILE_WAITING: self.evicted_tokens,
            Verdict.ARRIVED_WHILE_WAITING: self.arrived_tokens,
            Verdict.WRONG: self.wrong_tokens,
        }


def judge(predicted: int, scheduled: int | None, reported: int, tolerance: int) -> Verdict:
    """Compare tokens as believed at the decision, as believed when the engine looked, and as found; equal within `tolerance`.

    Where `scheduled` is None, the belief at the decision stands for both.
    """
    if scheduled is not None and abs(scheduled - reported) > tolerance:
        return _WRONG
    if abs(predicted - reported) <= tolerance:
        return _RIGHT
    if scheduled is None:
        return _WRONG
    return Verdict.EVICTED_WHILE_WAITING if predicted > reported else Verdict.ARRIVED_WHILE_WAITING


class Score:
    """One source at one replica: what its claims added up to, and its weight."""

    __slots__ = ("_claimed", "_missing", "_sums", "num_calls", "num_checked", "num_right", "source", "weight")

    def __init__(self, source: HitSource) -> None:
        self.source = source
        self.weight = 1.0
        """What a token that it claims is worth, in [0, 1]: exactly 1 unless more than a tolerated share was missing lately."""
        self.num_calls = self.num_checked = self.num_right = 0
        self._claimed, self._missing = CREDIT_TOKENS, 0.0
        self._sums: dict[str, int] = dict.fromkeys(_SUMS, 0)

    @property
    def is_distrusted(self) -> bool:
        """Whether it misled more than it told lately."""
        return self.weight < DISTRUSTED_BELOW

    @property
    def missing_share(self) -> float:
        """Share of the tokens claimed lately that were not there."""
        return self._missing / self._claimed

    def note(self, prompt_tokens: int, predicted: int, reported: int, finding: Finding) -> None:
        """Count a decision that went by this source; its error goes to the verdict."""
        self.num_calls += 1
        if finding.scheduled_tokens is not None:
            self.num_checked += 1
            self.num_right += finding.verdict is not _WRONG
        error = abs(predicted - reported)
        sums = self._sums
        sums["prompt_tokens"] += prompt_tokens
        sums["predicted_tokens"] += predicted
        sums["reported_tokens"] += reported
        sums["error_tokens"] += error
        if error and finding.verdict is not _RIGHT:
            sums[_ERRORS[finding.verdict]] += error

    def trust(self, claimed: int, found: int, tolerance: int) -> bool:
        """Move the weight by one claim of tokens, before any weighing, and what was found; returns whether it moved.

        Only what was claimed and missing counts against a source: one that says too little misleads nobody.
        """
        missing = claimed - found
        self._claimed = self._claimed * KEPT_PER_CALL + CREDIT_TOKENS * (1 - KEPT_PER_CALL) + claimed
        self._missing = self._missing * KEPT_PER_CALL + (missing if missing > tolerance else 0)
        weight, self.weight = self.weight, self._weigh()
        return weight != self.weight

    @property
    def state(self) -> tuple[float, float]:
        """What its weight comes from, to be written down."""
        return (self._claimed, self._missing)

    def restore(self, state: tuple[float, float]) -> None:
        """Weigh what was written down."""
        self._claimed, self._missing = state
        self.weight = self._weigh()

    def _weigh(self) -> float:
        share = self.missing_share
        return 1.0 if share <= TOLERATED_SHARE else 1.0 - share

    @property
    def stats(self) -> SourceStats:
        """Its sums and its weight."""
        return SourceStats(
            source=self.source,
            weight=self.weight,
            num_calls=self.num_calls,
            num_checked=self.num_checked,
            num_right_when_scheduled=self.num_right,
            **self._sums,
        )


class LastBlock:
    """Whether an engine computes the last block of its hits anew, as vLLM does for speculative decoding by EAGLE or MTP."""

    __slots__ = ("_share", "is_dropped")

    def __init__(self) -> None:
        self.is_dropped = False
        self._share = 0.0

    def note(self, believed: int, found: int, block_size: int) -> bool:
        """Take in how many tokens of a prompt were held, to all knowledge, and how many were found; returns whether that tells.

        Only a hit that is whole or a block short says anything: others have lost more, or found what nobody knew of.
        """
        short = believed - found
        if believed <= 0 or short not in {0, block_size}:
            return False
        self._share += LAST_BLOCK_GAIN * ((short == block_size) - self._share)
        was_dropped = self.is_dropped
        self.is_dropped = self._share > (KEEPS_BELOW if was_dropped else DROPS_ABOVE)
        return self.is_dropped is not was_dropped


class ClosedLoop:
    """The scores of one replica's sources, and what its engine does to every hit."""

    __slots__ = ("confirmed", "last_block", "none", "predicted")

    def __init__(self) -> None:
        self.last_block = LastBlock()
        self.confirmed = Score(HitSource.CONFIRMED)
        self.predicted = Score(HitSource.PREDICTED)
        self.none = Score(HitSource.NONE)
        """Decisions that expected nothing; it claims nothing, so it keeps its weight."""

    def of(self, source: HitSource) -> Score:
        """The score of one source."""
        if source is _CONFIRMED:
            return self.confirmed
        return self.predicted if source is _PREDICTED else self.none

    @property
    def is_weighed(self) -> bool:
        """Whether a hit is worth less than it says: a source weighs less than 1, or the last block is dropped."""
        return self.last_block.is_dropped or self.confirmed.weight != 1.0 or self.predicted.weight != 1.0

    @property
    def complaint(self) -> str:
        """Which sources are distrusted and why, for people; empty where none is."""
        return "; ".join(
            f"{score.source} claims are distrusted: {score.missing_share:.0%} of their tokens were missing lately"
            for score in (self.confirmed, self.predicted)
            if score.is_distrusted
        )

    @property
    def stats(self) -> tuple[SourceStats, ...]:
        """Those of all sources that had a call."""
        return tuple(score.stats for score in (self.confirmed, self.predicted, self.none) if score.num_calls)


_SUMS = (
    "prompt_tokens",
    "predicted_tokens",
    "reported_tokens",
    "error_tokens",
    "evicted_tokens",
    "arrived_tokens",
    "wrong_tokens",
)
_ERRORS = {
    Verdict.EVICTED_WHILE_WAITING: "evicted_tokens",
    Verdict.ARRIVED_WHILE_WAITING: "arrived_tokens",
    Verdict.WRONG: "wrong_tokens",
}
