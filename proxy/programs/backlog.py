"""What of calls is to be put into graphs: nothing of a program, while it can have given up nothing."""

from __future__ import annotations

from collections import deque

from turnwise.proxy.programs.graph import Begun, Graph, Rates, Retired
from turnwise.proxy.programs.lines import Line
from turnwise.proxy.programs.program import Program
from turnwise.proxy.programs.sketch import Sketch, Step
from turnwise.proxy.programs.values import Call

AT_ONCE = 16
"""Steps that wait before some are taken: what is read once stays in the caches."""

TAKEN = 2 * AT_ONCE
"""Steps taken then, half a millisecond: as many as came, and as many of the calls before a program was drawn."""

MAX_RETIRED = 1024
"""Prompts given up that nobody has asked for yet, the newest: which are left out changes only what is forgotten first."""


class Backlog:
    """Puts prompts and answers into graphs, in the order in which calls began and ended; learns how long prompts are."""

    def __init__(self) -> None:
        self.rates = Rates()
        self._waiting: dict[Sketch, None] = {}
        """Those of which something waits, the one that waits longest first."""
        self._num_added = 0
        """Steps since some were last taken."""
        self._retired: deque[Retired] = deque(maxlen=MAX_RETIRED)

    def add(self, program: Program, step: Step) -> None:
        """Let the graph of a program take in more than its sketch can."""
        sketch = program.sketch
        if sketch.graph is None:
            sketch.draw(program.record)
        sketch.add(step)
        self._waiting[sketch] = None
        self._num_added += 1
        if self._num_added >= AT_ONCE:
            self.work()

    def close(self, line: Line) -> None:
        """A conversation is over: what it was begun for has been brought home."""
        if not line.program.sketch.is_ended:
            self.add(line.program, line.agent)

    def end(self, program: Program) -> None:
        """A program has ended."""
        sketch = program.sketch
        if sketch.graph is not None:
            graph = self.graph(program)
            graph.end()
            self._retired += graph.take_retired()
        elif (retired := sketch.retired()) is not None:
            self._retired.append(retired)
        sketch.is_ended = True

    def graph(self, program: Program) -> Graph:
        """A program's graph, with all that it is to take in; one that is not kept where a sketch does."""
        sketch = program.sketch
        graph = sketch.graph
        if graph is not None:
            self._waiting.pop(sketch, None)
            while (step := sketch.take()) is not None:
                self._take(graph, step)
            return graph
        graph = Graph()
        for step in sketch.calls(program.record):
            self._take(graph, step)
        if sketch.is_ended:
            graph.end()
        return graph

    def take_retired(self) -> list[Retired]:
        """Prompts that nobody will go on from, since this was last asked."""
        self.work()
        retired = list(self._retired)
        self._retired.clear()
        return retired

    def work(self) -> None:
        """Put some of what waits into graphs."""
        self._num_added = 0
        num_left = TAKEN
        while self._waiting and num_left:
            sketch = next(iter(self._waiting))
            graph = sketch.graph
            while graph is not None and num_left and (step := sketch.take()) is not None:
                self._take(graph, step)
                num_left -= 1
            if num_left:
                del self._waiting[sketch]

    def _take(self, graph: Graph, step: Step) -> None:
        if isinstance(step, Begun):
            graph.begin(step, self.rates.tokens_per_byte(step.model))
        elif isinstance(step, Call):
            graph.settle(step, self.rates.tokens_per_byte(step.model))
        else:
            graph.close(step)
        if graph.has_retired:
            self._retired += graph.take_retired()
