"""One end of the local socket between a proxy and the gateway, the same on both sides: lines, greetings, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import Generic, TypeVar, cast

import msgspec

from turnwise.tools_gateway.messages import VERSION, FromGateway, FromProxy, Hello, Lines, TooLong, encode

logger = logging.getLogger(__name__)

Heard = TypeVar("Heard", FromGateway, FromProxy)


class LinkEnd(asyncio.Protocol, Generic[Heard]):
    """Greets, and takes what `other` says once that has greeted with the same version.

    What is none of the messages, is too long, or comes before a greeting closes it: what follows cannot be trusted to be whole.
    `other` is what the other side is called in words.
    """

    def __init__(self, name: str, other: str, decoder: msgspec.json.Decoder[Heard]) -> None:
        self._name, self._other = name, other
        self._decoder: msgspec.json.Decoder[Heard] = decoder
        self._lines = Lines()
        self._transport: asyncio.Transport | None = None
        self.why = f"{other} has closed it"
        """Why it ended."""
        self.peer = ""
        """How the other side calls itself; known once it has greeted."""
        self.is_greeted = False
        self.greeting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the other side has greeted, or the connection ended before."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it has ended."""
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
        """Take the messages that these bytes end."""
        try:
            for line in self._lines.feed(data):
                if self._transport is None:
                    return
                self._take(self._decoder.decode(line))
        except (TooLong, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(f"says what is no message: {error}")

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

    @abstractmethod
    def greeted(self) -> None:
        """The other side has greeted."""

    @abstractmethod
    def heard(self, message: Heard) -> None:
        """Take one message, which is no greeting."""

    def _refuse(self, why: str) -> None:
        self.is_refused = True
        self.close(f"{self._other} {why}")

    def _take(self, message: Heard) -> None:
        if isinstance(message, Hello):
            self._greet(message)
        elif not self.is_greeted:
            self._refuse("has not said hello")
        else:
            try:
                self.heard(message)
            except Exception:  # the handler of a message: the next one may be of another turn
                logger.exception("a bug in what became of `%s` of turn %s", type(message).__name__, message.turn)

    def _greet(self, hello: Hello) -> None:
        self.peer = hello.name
        if hello.version != VERSION:
            self._refuse(f"speaks version {hello.version} of the link, and this side {VERSION}: run the same Turnwise on both")
        elif not self.is_greeted:
            self.is_greeted = True
            self.greeting.set_result(None)
            self.greeted()
