"""What of calls is still to be put into the graphs of their programs: a few calls together cost half of one by one."""

from __future__ import annotations

from collections import deque

from turnwise.proxy.programs.graph import Hinted, Rates, Retired
from turnwise.proxy.programs.lines import Line
from turnwise.proxy.programs.program import Program
from turnwise.proxy.programs.turn import Turn
from turnwise.types import Outcome

AT_ONCE = 16
"""Beginnings and ends of calls that wait: a quarter of a millisecond of work. What is read once stays in the caches."""

MAX_RETIRED = 1024
"""Prompts given up that nobody has asked for yet, the newest: which are left out changes only what is forgotten first."""


class Backlog:
    """Puts prompts and answers into graphs, in the order in which calls began and ended; learns how long prompts are."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._waiting: list[tuple[Turn, Hinted | None, Outcome | None, bool]] = []
        self._retired: deque[Retired] = deque(maxlen=MAX_RETIRED)

    def begun(self, turn: Turn, hinted: Hinted | None) -> None:
        """A call begins."""
        self._waiting.append((turn, hinted, None, True))

    def ended(self, turn: Turn, outcome: Outcome | None) -> None:
        """A call has ended; None where no attempt could be made."""
        self._waiting.append((turn, None, outcome, False))
        if len(self._waiting) >= AT_ONCE:
            self.work()

    def close(self, line: Line) -> None:
        """A conversation is over: what it was begun for has been brought home."""
        self.work()
        line.program.record.graph.close(line.agent)

    def end(self, program: Program) -> None:
        """A program has ended."""
        self.work()
        graph = program.record.graph
        graph.end()
        self._retired += graph.take_retired()

    def take_retired(self) -> list[Retired]:
        """Prompts that nobody will go on from, since this was last asked."""
        self.work()
        retired = list(self._retired)
        self._retired.clear()
        return retired

    def work(self) -> None:
        """Put all that waits into graphs."""
        waiting, self._waiting = self._waiting, []
        for turn, hinted, outcome, is_beginning in waiting:
            request = turn.request
            graph = turn.program.record.graph
            if is_beginning:
                rate = self._rates.tokens_per_byte(request.model)
                turn.block = graph.begin(request, turn.agent, turn.number, rate, hinted)
                continue
            if outcome is None:
                graph.drop(turn.agent)
            else:
                rate = self._rates.tokens_per_byte(request.model)
                graph.settle(turn.block, turn.agent, turn.number, outcome, rate)
                if outcome.usage is not None and request.chain is not None:
                    self._rates.learn(request.model, request.chain.num_bytes, outcome.usage.prompt_tokens)
            if graph.has_retired:
                self._retired += graph.take_retired()
