"""How the events of one replica are heard: what its feed notes, and what a look at its state goes by."""

from __future__ import annotations

from enum import StrEnum

from turnwise.proxy.export.calls import Answered

NOTHING_ANSWERED = Answered()


class Loss(StrEnum):
    """Why some of what a replica holds is not known."""

    NO_REPLAY = "no_replay"
    """Its engine cannot tell what it stored before it was heard."""
    STARTED_LATE = "started_late"
    """Its engine no longer keeps its first batches."""
    GAP = "gap"
    """Batches were lost, and its engine cannot give them again."""


class Following:
    """What is known of one replica's events since it was admitted; a process of it that is new begins anew."""

    __slots__ = (
        "answered_before",
        "has_several_ranks",
        "is_restored",
        "loss",
        "num_nonsense",
        "num_stored",
        "num_stored_unstamped",
        "restarted_at",
    )

    def __init__(
        self,
        *,
        has_several_ranks: bool = False,
        answered_before: Answered = NOTHING_ANSWERED,
        restarted_at: float | None = None,
        is_restored: bool = False,
        loss: Loss | None = None,
    ) -> None:
        self.answered_before = answered_before
        """What its answers had told when it was admitted."""
        self.has_several_ranks = has_several_ranks
        """Whether it publishes events of several ranks, which nobody listens to."""
        self.is_restored = is_restored
        """Whether what is known of it comes from a file, and its engine has not borne it out yet."""
        self.loss = loss
        self.num_nonsense = 0
        """Events that could not be read or cannot be true; those of an unknown type are merely new."""
        self.num_stored = 0
        """Events that stored blocks."""
        self.num_stored_unstamped = 0
        """Those of them since the last that bore a stamp of ours."""
        self.restarted_at = restarted_at
        """When its process was last found to be another one; None where it has been the same."""

    def note_stored(self, *, is_stamped: bool) -> None:
        """Note an event that stored blocks."""
        self.num_stored += 1
        self.num_stored_unstamped = 0 if is_stamped else self.num_stored_unstamped + 1
