"""An event loop whose clock is a number: when nothing is ready it jumps to the next timer, so an hour of sleep costs nothing.

Code under it must wait only for timers and for other tasks. Sockets and threads run on the real clock, which this loop does
not wait for, so registering one is refused at once; so is a state in which no timer is left and every task waits.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, NoReturn, TypeVar

Result = TypeVar("Result")


class _JumpingSelector(selectors.BaseSelector):
    """Selects nothing but the loop's own wake-up pipe; waiting is a jump of the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._inner = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self._inner.get_map():
            raise RuntimeError("a virtual clock does not wait for sockets or pipes: use in-memory transports")
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._inner.select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("deadlock on a virtual clock: every task waits and no timer is set")
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop on a virtual clock that starts at 0.0 seconds.

    Raises `RuntimeError` out of `run_forever` on a deadlock, and from whatever registers a socket or uses a thread.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    def run_in_executor(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse: a thread runs on the real clock."""
        raise RuntimeError("a virtual clock does not wait for threads")


def run_virtual(main: Coroutine[Any, Any, Result]) -> Result:
    """Run one coroutine to its end on a fresh virtual clock and give its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
