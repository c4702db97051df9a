"""The records of calls that have ended, made several at once: one by one, in the flow of calls, each costs twice as much."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from turnwise.proxy.programs import calls, elsewhere
from turnwise.proxy.programs.backlog import Backlog
from turnwise.proxy.programs.pauses import Pauses
from turnwise.proxy.programs.population import Population
from turnwise.proxy.programs.turn import Turn
from turnwise.proxy.programs.values import Call, Key
from turnwise.types import Outcome


class Recording:
    """Makes them in the order in which the calls ended; whoever reads records, or asks what runs, has it `work` first.

    Siblings hear of the end of a call with its record, by `tell`: `soon` has those that wait made before siblings are next told
    of anything. Where there is none, each is made when its call ends.
    """

    def __init__(
        self,
        population: Population,
        backlog: Backlog,
        pauses: Pauses | None,
        tell: Callable[[elsewhere.News], None] | None,
        soon: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._population = population
        self._backlog = backlog
        self._pauses = pauses
        self._tell = tell
        self._soon = soon
        self._waiting: deque[tuple[Turn, Outcome | Call]] = deque()
        self._made: list[tuple[Key, Call]] = []

    def ended(self, turn: Turn, ended: Outcome | Call, now: float) -> int:
        """A call has ended `now`, of which `ended` tells; where no replica was tried for it, that is its record.

        Returns how many calls have ended since records were last taken.
        """
        turn.node.ended_at = now
        waiting = self._waiting
        waiting.append((turn, ended))
        if self._tell is not None:
            if self._soon is None:
                self.work()
            elif len(waiting) == 1:
                self._soon(self.work)
        return len(waiting) + len(self._made)

    def tell(self, news: elsewhere.News) -> None:
        """Tell siblings this; what may be seen to come after the end of a call is told after it."""
        if not isinstance(news, elsewhere.Began) or news.follows is not None:
            self.work()
        if self._tell is not None:
            self._tell(news)

    def work(self) -> None:
        """Make the records of all that wait."""
        waiting, made, counted = self._waiting, self._made, self._backlog.rates.counted
        while waiting:
            turn, ended = waiting.popleft()
            program, key = turn.program, turn.key
            call = calls.settled(turn, ended) if isinstance(ended, Outcome) else ended
            program.record.ended(call)
            self._population.settled(program)
            if not program.sketch.ended():
                self._backlog.add(program, call)
            if call.completion_tokens is not None:
                counted.append((call.model, turn.chain.ends[-1], call.prompt_tokens))
            if call.runs and self._pauses is not None:
                self._pauses.learn(key.tenant, call)
            if self._tell is not None:
                self._tell(elsewhere.finished(program, turn.node, call))
            made.append((key, call))

    def take(self) -> list[tuple[Key, Call]]:
        """The records made since this was last asked, in their order, none of them left to be made."""
        self.work()
        made, self._made = self._made, []
        return made
