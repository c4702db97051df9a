"""In which order the runs of one replica were used, and how much of them is believed to be held still."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from turnwise.index.runs import Run

MAX_STEPS = 4096
"""Uses looked through to tell how much was used after one of them."""


LOOKED_UP_EVERY = 32
"""Uses between two looks at where a faster tier ends: a cache has hundreds, and the end moves by one or two with each."""


class Recency:
    """Uses of a cache, numbered, each with the run that it ended in; a run belongs to the last use of a prompt through it.

    What was used longest ago is lost first and, of one prompt, its tail: what was used before `edge` is lost, what was used
    after it is held, and of that use itself some may be lost.
    """

    __slots__ = ("_newest", "edge", "num_filled", "num_lost", "num_tokens", "num_uses", "order", "running")

    def __init__(self) -> None:
        self.order: OrderedDict[int, Run] = OrderedDict()
        """The last run of each use, oldest first."""
        self.running: dict[Run, None] = {}
        """Where prompts end that are not answered yet: an engine loses nothing of them."""
        self.edge = 0
        self.num_uses = 0
        self._newest = (0, 0)
        """The first of the newest uses as last looked up, and at which use that was."""
        self.num_tokens = 0
        """Tokens of all runs."""
        self.num_lost = 0
        """Those of them that are not believed to be held any more."""
        self.num_filled = 0
        """Tokens that had to be put into the cache since the start, as far as is known."""

    def resize(self, run: Run, by_tokens: int) -> None:
        """Take in that a run's size has changed."""
        self.num_tokens += by_tokens
        lost = run.size if run.booking < self.edge else min(run.num_lost, run.size)
        self.num_lost += lost - run.num_lost
        run.num_lost = lost

    def lose(self, num_tokens: int, running_since: float) -> None:
        """Believe so many tokens less, no more than are held; what is in use since `running_since` is used anew instead."""
        last_use = self.num_uses
        while num_tokens > 0 and self.edge <= self.num_uses:
            last = self.order.get(self.edge)
            is_done = last is None or last not in self.running or last.booked_at < running_since or self.edge > last_use
            for run in self._runs(self.edge):
                taken = min(num_tokens, run.size - run.num_lost)
                if taken and not is_done:
                    num_tokens += self._renew()
                    break
                run.num_lost += taken
                self.num_lost += taken
                num_tokens -= taken
                if not num_tokens:
                    return
            self.edge += 1

    def recall(self, num_tokens: int, since: int) -> None:
        """Believe so many tokens more, as far as they were used by `since` or later."""
        while num_tokens > 0 and self.edge >= since:
            for run in reversed([*self._runs(self.edge)]):
                taken = min(num_tokens, run.num_lost)
                run.num_lost -= taken
                self.num_lost -= taken
                num_tokens -= taken
                if not num_tokens:
                    return
            self.edge -= 1
        self.edge += 1

    def lose_before(self, use: int, sent: int) -> None:
        """Believe nothing that was last used before `use`, or was sent before `sent`, a later use, and is answered already."""
        for number in range(self.edge, use):
            for run in self._runs(number):
                self.lose_run(run)
        self.edge = max(self.edge, use)
        for number in range(use, self.num_uses + 1):
            last = self.order.get(number)
            if last is not None and last.sent < sent and last not in self.running:
                self.lose_run(last)

    def lose_run(self, run: Run) -> None:
        """Believe nothing of one run, nor that it was ever there."""
        self.num_lost += run.size - run.num_lost
        run.num_lost = run.size
        run.num_settled = 0

    def used_after(self, use: int) -> int | None:
        """Tokens of all runs that were last used after `use` or are in use; None where that takes too long to tell."""
        edge = self.edge
        running = sum(run.size for last in self.running if last.booking <= use for run in self._runs(last.booking))
        if self.num_uses - use <= abs(use - edge):
            return None if self.num_uses - use > MAX_STEPS else running + self._between(use, self.num_uses)
        if abs(use - edge) > MAX_STEPS:
            return None
        after_edge = self.num_tokens - self.num_lost - sum(run.size - run.num_lost for run in self._runs(edge))
        return running + after_edge + (self._between(use, edge) if use < edge else -self._between(edge, use))

    def newest(self, num_tokens: int) -> int:
        """The first of the newest uses that together fill `num_tokens`, the same at each call.

        It is looked up anew every `LOOKED_UP_EVERY` uses.
        """
        use, looked_up_at = self._newest
        if self.num_uses < looked_up_at + LOOKED_UP_EVERY:
            return use
        left, use = num_tokens, self.num_uses + 1
        for last in reversed(self.order.values()):
            left -= sum(run.size for run in self._runs(last.booking))
            if left < 0:
                break
            use = last.booking
        self._newest = (use, self.num_uses)
        return use

    def _renew(self) -> int:
        """Use anew what was used at the edge; returns how many of its tokens had been lost."""
        order, num_lost = self.order, self.num_lost
        last = order[self.edge]
        self.num_uses = use = self.num_uses + 1
        run: Run | None = last
        while run is not None:
            if order.get(run.booking) is run:
                del order[run.booking]
            run.booking = use
            self.num_lost -= run.num_lost
            run.num_lost = 0
            run = run.parent
        order[use] = last
        return num_lost - self.num_lost

    def _between(self, after: int, up_to: int) -> int:
        return sum(run.size for use in range(after + 1, up_to + 1) for run in self._runs(use))

    def _runs(self, use: int) -> Iterator[Run]:
        """The runs of one use, the last one first."""
        run = self.order.get(use)
        while run is not None and run.booking == use:
            yield run
            run = run.parent
