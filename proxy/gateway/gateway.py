"""What the data path tells, and the task that keeps the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from turnwise.proxy.gateway.connection import Connection
from turnwise.settings import ToolSettings
from turnwise.tools_gateway.messages import MAX_LINE_BYTES, Announced, Filled, Settled, ToolTold, Voided, encode
from turnwise.types import CallId

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0
"""Between two attempts to connect; twice as long each time. A gateway that is back is told of calls within the longer one."""

REFUSED_PAUSE_S = 60.0
"""The same where what answers speaks another version, or no such language: somebody has to change something first."""

HELLO_TIMEOUT_S = 5.0

MAX_TURNS = 65_536
"""Turns of which something was told and that are not settled; of more, the one that began longest ago is forgotten."""

Told = Announced | Filled | Voided | Settled


class GatewayStats(msgspec.Struct, frozen=True, gc=False):
    """Counts since the start."""

    is_listening: bool
    told: int
    """Messages that were sent."""
    dropped: int
    """Messages that were not: no room, too long, or of a lost turn."""
    lost_turns: int
    """Turns of which something was told, and not all."""
    heard: int
    """Events of runs."""


class Gateway:
    """Tells the tools gateway at `tools.socket` what models write; `hear` is told of runs. `name` is this process, for people.

    A message that cannot be sent takes the rest of its turn with it, the end included: half a turn might look clean.
    What the gateway knows of it is void there when its time is up, or at once where the connection broke.
    """

    def __init__(self, settings: ToolSettings, hear: Callable[[ToolTold], None], *, name: str = "turnwise") -> None:
        self._path = settings.socket
        self._max_pending_bytes = settings.max_pending_bytes
        self._on_told = hear
        self._name = name
        self._connection: Connection | None = None
        self._turns: dict[CallId, bool] = {}
        """Turns that are not settled, and whether all of each was told; the oldest first."""
        self._told = self._dropped = self._lost_turns = self._heard = 0
        self._last_complaint = ""
        self.is_listening = False
        """Whether somebody is there to be told; looked at when a turn begins."""

    @property
    def stats(self) -> GatewayStats:
        """Counts since the start."""
        return GatewayStats(self.is_listening, self._told, self._dropped, self._lost_turns, self._heard)

    def tell(self, message: Told) -> None:
        """Send a message, or drop it and what else comes of its turn; returns at once, and raises nothing.

        What comes of a turn before anything of it was announced is left out: it means nothing to the gateway.
        """
        turn = message.turn
        is_whole = self._turns.get(turn)
        if is_whole is None:
            if not isinstance(message, Announced):
                return
            if len(self._turns) >= MAX_TURNS:
                del self._turns[next(iter(self._turns))]
        if is_whole is not False and self._sent(message):
            self._told += 1
            if isinstance(message, Settled):
                del self._turns[turn]
            else:
                self._turns[turn] = True
            return
        self._dropped += 1
        if is_whole is not False:
            self._lost_turns += 1
        if isinstance(message, Settled):
            self._turns.pop(turn, None)
        else:
            self._turns[turn] = False

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            has_listened, is_refused = False, True
            try:
                has_listened, is_refused = await self._attend()
            except Exception:  # the top of the task: calls go on whatever the link does
                logger.exception("a bug in the link to the tools gateway at %s", self._path)
            if has_listened:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(REFUSED_PAUSE_S if is_refused else pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def _attend(self) -> tuple[bool, bool]:
        """Connect, and wait for the end; says whether the gateway has greeted, and whether it speaks another language."""
        loop = asyncio.get_running_loop()
        connection = Connection(self._name, self._hear, self._greeted)
        try:
            await loop.create_unix_connection(lambda: connection, self._path)
        except OSError as error:
            self._complain(f"no tools gateway answers at {self._path}: {error}")
            return False, False
        self._connection = connection
        try:
            try:
                async with asyncio.timeout(HELLO_TIMEOUT_S):
                    await connection.greeting
            except TimeoutError:
                connection.close("the tools gateway does not say hello")
            await connection.closed
        finally:
            has_listened = self.is_listening
            self._lost()
            connection.close("this proxy stops")
        self._complain(
            f"the link to the tools gateway at {self._path} has ended: {connection.why}", is_error=connection.is_refused
        )
        return has_listened, connection.is_refused

    def _sent(self, message: Told) -> bool:
        connection = self._connection
        if connection is None or not self.is_listening:
            return False
        try:
            line = encode(message)
        except (ValueError, OverflowError):  # half a surrogate pair in a name
            return False
        if len(line) > MAX_LINE_BYTES or connection.pending_bytes + len(line) > self._max_pending_bytes:
            return False
        connection.write(line)
        return True

    def _greeted(self) -> None:
        self.is_listening = True
        self._last_complaint = ""
        logger.info("the tools gateway at %s is told of tool calls", self._path)

    def _hear(self, told: ToolTold) -> None:
        self._heard += 1
        self._on_told(told)

    def _lost(self) -> None:
        """Nobody listens: the gateway voids what was not settled, and a turn that goes on is not told to the next."""
        self._connection = None
        self.is_listening = False
        self._lost_turns += sum(self._turns.values())
        self._turns = dict.fromkeys(self._turns, False)

    def _complain(self, what: str, *, is_error: bool = False) -> None:
        """Log what is wrong, once until it is something else."""
        if what != self._last_complaint:
            self._last_complaint = what
            logger.log(logging.ERROR if is_error else logging.WARNING, "%s; agents' own calls of tools go on", what)
