"""The conversations of a program, by the number of their agent: where each goes on from, and when it last did."""

from __future__ import annotations

from array import array

_TIP, _SEEN, _BEGUN, _BEFORE, _RUNNING, _CALLS = range(6)
_WIDTH = 6


class Tips:
    """A few numbers a line, in one array; time is counted in events, each a call's begin or end."""

    __slots__ = ("_values", "num_events")

    def __init__(self) -> None:
        self._values = array("i")
        self.num_events = 0

    def __len__(self) -> int:
        """How many agents there are."""
        return len(self._values) // _WIDTH

    def begun(self, agent: int) -> None:
        """A call of this agent begins."""
        values = self._values
        while len(values) <= agent * _WIDTH:
            values.extend((-1, 0, 0, 0, 0, 0))
        at = agent * _WIDTH
        self.num_events += 1
        values[at + _BEFORE] = values[at + _BEGUN]
        values[at + _BEGUN] = values[at + _SEEN] = self.num_events
        values[at + _RUNNING] += 1
        values[at + _CALLS] += 1

    def settled(self, agent: int) -> None:
        """A call of this agent has ended."""
        self.num_events += 1
        self._values[agent * _WIDTH + _SEEN] = self.num_events
        self._values[agent * _WIDTH + _RUNNING] -= 1

    def tip(self, agent: int) -> int:
        """The row that a line goes on from; -1 where there is none."""
        return self._values[agent * _WIDTH + _TIP] if agent < len(self) else -1

    def move(self, agent: int, row: int) -> None:
        """A line goes on from this row; -1 where it is over."""
        self._values[agent * _WIDTH + _TIP] = row

    def is_running(self, agent: int) -> bool:
        """Whether a call of it has not ended."""
        return self._values[agent * _WIDTH + _RUNNING] > 0

    def num_calls(self, agent: int) -> int:
        """Calls that it has begun."""
        return self._values[agent * _WIDTH + _CALLS]

    def has_outlived(self, agent: int, other: int) -> bool:
        """Whether a line began its last call but one after anything last happened to the other line."""
        values = self._values
        return values[agent * _WIDTH + _BEFORE] > values[other * _WIDTH + _SEEN]
