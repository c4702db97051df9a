"""One proxy on the socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import msgspec

from turnwise.tools_gateway.messages import (
    VERSION,
    Announced,
    Filled,
    FromProxy,
    Hello,
    Lines,
    Settled,
    TooLong,
    ToolTold,
    Voided,
    encode,
)
from turnwise.tools_gateway.ports import Runs

logger = logging.getLogger(__name__)

MAX_PENDING_BYTES = 1024 * 1024
"""What waits for a proxy that does not read; of more, the newest is dropped."""

_DECODER = msgspec.json.Decoder(FromProxy)


class Connection(asyncio.Protocol):
    """Hands on what one proxy tells, in its order, and tells it of runs; it is the `source` of its turns.

    `ended` is called once, with it, when it is closed. A line that is none of the messages, or is too long, closes it: what
    follows cannot be trusted to be whole.
    """

    def __init__(self, runs: Runs, name: str, ended: Callable[[Connection], None]) -> None:
        self._runs = runs
        self._name = name
        self._ended = ended
        self._lines = Lines()
        self._transport: asyncio.Transport | None = None
        self._is_greeted = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it has ended."""
        self.peer = ""
        """How the proxy calls itself."""
        self.num_heard = 0
        self.num_told = 0
        self.num_dropped = 0
        self.is_malformed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(encode(Hello(VERSION, self._name)))

    def data_received(self, data: bytes) -> None:
        """Hand on the messages that these bytes end."""
        try:
            for line in self._lines.feed(data):
                if self._transport is None:
                    return
                self._hear(_DECODER.decode(line))
        except (TooLong, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.is_malformed = True
            self.close(f"it says what is no message: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        """What it has not settled is void."""
        self._transport = None
        logger.info("proxy `%s` has gone%s", self.peer, f": {error}" if error else "")
        try:
            if self._is_greeted:
                self._runs.disconnected(self)
        finally:
            self._ended(self)
            self.closed.set_result(None)

    def tell(self, told: ToolTold) -> None:
        """Tell of a run; dropped and counted where the proxy has gone or does not read."""
        transport = self._transport
        line = encode(told)
        if transport is None or transport.get_write_buffer_size() + len(line) > MAX_PENDING_BYTES:
            self.num_dropped += 1
            return
        self.num_told += 1
        transport.write(line)

    def close(self, why: str = "") -> None:
        """Break it off; `why` is logged as an error."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if why:
            logger.error("the link to proxy `%s` is closed: %s", self.peer, why)
        transport.abort()

    def _hear(self, message: FromProxy) -> None:
        self.num_heard += 1
        if isinstance(message, Hello):
            self._greet(message)
        elif not self._is_greeted:
            self.is_malformed = True
            self.close("it has not said hello")
        else:
            try:
                self._hand_on(message)
            except Exception:  # the handler of a message: the next one may be of another turn
                logger.exception("a bug in what became of `%s` of turn %s", type(message).__name__, message.turn)

    def _greet(self, hello: Hello) -> None:
        self.peer = hello.name
        if hello.version != VERSION:
            self.close(f"it speaks version {hello.version} of the link, this gateway {VERSION}: run the same Turnwise on both")
            return
        self._is_greeted = True
        logger.info("proxy `%s` tells of tool calls", self.peer)

    def _hand_on(self, message: Announced | Filled | Voided | Settled) -> None:
        match message:
            case Announced():
                self._runs.announced(self, message)
            case Filled():
                self._runs.filled(self, message)
            case Voided():
                self._runs.voided(self, message)
            case Settled():
                self._runs.settled(self, message)
