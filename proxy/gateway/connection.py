"""One connection to the tools gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import msgspec

from turnwise.tools_gateway.messages import VERSION, FromGateway, Hello, Lines, TooLong, ToolTold, encode

logger = logging.getLogger(__name__)

_DECODER = msgspec.json.Decoder(FromGateway)


class Connection(asyncio.Protocol):
    """Greets, and hands what is told of runs to `hear` once the gateway has greeted with the same version.

    `greeted` is called then; `greeting` is done when it has, and `closed` when the connection has ended.
    """

    def __init__(self, name: str, hear: Callable[[ToolTold], None], greeted: Callable[[], None]) -> None:
        self._name = name
        self._hear = hear
        self._greeted = greeted
        self._lines = Lines()
        self._transport: asyncio.Transport | None = None
        self.why = "the tools gateway has closed it"
        """Why it ended."""
        self.peer = ""
        """How the gateway calls itself; known once it has greeted."""
        self.greeting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the gateway has greeted, or the connection ended before."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_refused = False
        """Whether the two do not speak the same language: trying again soon is of no use."""

    @property
    def pending_bytes(self) -> int:
        """What was written and has not left."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

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
                self._take(_DECODER.decode(line))
        except (TooLong, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.is_refused = True
            self.close(f"the tools gateway says what is no message: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        """Wake who waits."""
        self._transport = None
        if error is not None:
            self.why = str(error)
        for waiting in (self.greeting, self.closed):
            if not waiting.done():
                waiting.set_result(None)

    def write(self, line: bytes) -> None:
        """Send one line; nothing happens where the connection has ended."""
        if self._transport is not None:
            self._transport.write(line)

    def close(self, why: str) -> None:
        """Break it off."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self.why = why
            transport.abort()

    def _take(self, message: FromGateway) -> None:
        if isinstance(message, Hello):
            self._greet(message)
        elif not self.greeting.done():
            self.is_refused = True
            self.close("the tools gateway has not said hello")
        else:
            try:
                self._hear(message)
            except Exception:  # the handler of a message: the next one may be of another run
                logger.exception("a bug in what became of a run of `%s`, turn %s", message.tool, message.turn)

    def _greet(self, hello: Hello) -> None:
        self.peer = hello.name
        if hello.version != VERSION:
            self.is_refused = True
            self.close(
                f"the tools gateway speaks version {hello.version} of the link, this proxy {VERSION}: "
                "run the same Turnwise on both"
            )
        elif not self.greeting.done():
            self.greeting.set_result(None)
            self._greeted()
