"""What the tests of the socket between the proxy and the tools gateway share: the two ends, and runs behind the one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from turnwise.events import ToolHow, ToolStep
from turnwise.proxy.gateway import Gateway
from turnwise.settings import ToolSettings
from turnwise.tools_gateway.messages import Announced, Filled, Settled, ToolTold, Voided
from turnwise.types import CallId

PATIENCE_S = 10.0


class FakeRuns:
    """Keeps what it is told, and wakes who waits for it."""

    def __init__(self) -> None:
        self.told: list[tuple[object, object]] = []
        self.gone: list[object] = []
        self._changed = asyncio.Event()
        self.fails_at: object = None

    def announced(self, source: object, told: Announced) -> None:
        self._took(source, told)

    def filled(self, source: object, told: Filled) -> None:
        self._took(source, told)

    def voided(self, source: object, told: Voided) -> None:
        self._took(source, told)

    def settled(self, source: object, told: Settled) -> None:
        self._took(source, told)

    def disconnected(self, source: object) -> None:
        self.gone.append(source)
        self._changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        await until(self._changed, is_so)

    def _took(self, source: object, told: object) -> None:
        self.told.append((source, told))
        self._changed.set()
        if told == self.fails_at:
            raise KeyError("a bug")


async def until(changed: asyncio.Event, is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            changed.clear()
            await changed.wait()


async def settled_loop(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until something is so that nobody tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def connected(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Run a proxy's end until the block ends."""
    running = asyncio.create_task(gateway.run())
    try:
        yield gateway
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def announced(turn: str = "turn", index: int = 0) -> Announced:
    return Announced(CallId(turn), index, "git__status", f"call_{index}", 1.0)


def told(turn: str = "turn") -> ToolTold:
    return ToolTold(CallId(turn), 0, "call_0", "program", "git__status", ToolStep.STARTED, 2.0, ToolHow.EARLY, predicted_s=0.5)


def gateway(path: str, hear: Callable[[ToolTold], None] = lambda _: None, **settings: int) -> Gateway:
    return Gateway(ToolSettings(socket=path, **settings), hear)
