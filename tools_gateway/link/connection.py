"""One proxy on the socket."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from turnwise.tools_gateway.link_end import LinkEnd
from turnwise.tools_gateway.messages import Announced, Filled, FromProxy, Settled, ToolTold, Voided, encode
from turnwise.tools_gateway.ports import Runs

logger = logging.getLogger(__name__)

MAX_PENDING_BYTES = 1024 * 1024
"""What waits for a proxy that does not read; of more, the newest is dropped."""

_DECODER = msgspec.json.Decoder(FromProxy)


class Connection(LinkEnd[FromProxy]):
    """Hands on what one proxy tells, in its order, and tells it of runs; it is the `source` of its turns.

    `ended` is called once, with it, when it is closed.
    """

    def __init__(self, runs: Runs, name: str, ended: Callable[[Connection], None]) -> None:
        super().__init__(name, "the proxy", _DECODER)
        self._runs = runs
        self._ended = ended
        self.num_heard = 0
        self.num_told = 0
        self.num_dropped = 0

    def connection_lost(self, error: Exception | None) -> None:
        """What it has not settled is void."""
        super().connection_lost(error)
        logger.log(logging.ERROR if self.is_refused else logging.INFO, "proxy `%s` has gone: %s", self.peer, self.why)
        try:
            if self.is_greeted:
                self._runs.disconnected(self)
        finally:
            self._ended(self)

    def greeted(self) -> None:
        """The proxy has greeted."""
        logger.info("proxy `%s` tells of tool calls", self.peer)

    def tell(self, told: ToolTold) -> None:
        """Tell of a run; dropped and counted where the proxy has gone or does not read."""
        line = encode(told)
        if self._transport is None or self.pending_bytes + len(line) > MAX_PENDING_BYTES:
            self.num_dropped += 1
            return
        self.num_told += 1
        self.write(line)

    def heard(self, message: FromProxy) -> None:
        """Hand on what a model writes."""
        self.num_heard += 1
        match message:
            case Announced():
                self._runs.announced(self, message)
            case Filled():
                self._runs.filled(self, message)
            case Voided():
                self._runs.voided(self, message)
            case Settled():
                self._runs.settled(self, message)
