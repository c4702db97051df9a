"""Predictions that nobody will ask for again: dead branches, superseded turns, programs that have ended."""

from __future__ import annotations

from turnwise.index.runs import Run


class Retired:
    """Runs of one replica to be forgotten before all others, each behind those that hang on it.

    A run that is booked again is needed after all.
    """

    __slots__ = ("_bookings",)

    def __init__(self) -> None:
        self._bookings: dict[Run, int] = {}
        """With the use that it was retired after."""

    def __len__(self) -> int:
        """How many there are, those that are needed after all among them."""
        return len(self._bookings)

    def add(self, run: Run) -> None:
        """Retire a run; those that hang on it are retired already."""
        self._bookings[run] = run.booking

    def drop(self, run: Run) -> None:
        """A run is forgotten."""
        self._bookings.pop(run, None)

    def first(self, *, is_lost: bool = False) -> Run | None:
        """The next run to forget, one that is believed to be lost where `is_lost`; None where there is none."""
        bookings = self._bookings
        while bookings:
            run, booking = next(iter(bookings.items()))
            if run.booking == booking and not run.num_children:
                if is_lost and run.num_lost < run.size:
                    return None
                return run
            del bookings[run]
        return None
