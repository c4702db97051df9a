"""What the connections of one server share: the handler, the limits, and who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from turnwise import names
from turnwise.errors import TurnwiseError
from turnwise.proxy.wire.outbox import Outbox
from turnwise.proxy.wire.ports import Client, RawRequest
from turnwise.settings import Server
from turnwise.types import Headers

if TYPE_CHECKING:
    from turnwise.proxy.wire.connection import Connection

Handler = Callable[[RawRequest, Client], Coroutine[None, None, None]]
RenderError = Callable[[TurnwiseError, str | None], bytes]


class Hub:
    """What the connections of one server share."""

    def __init__(
        self,
        handler: Handler,
        settings: Server,
        *,
        clock: Callable[[], float],
        render_error: RenderError,
        new_id: Callable[[], str],
    ) -> None:
        self.handler = handler
        self.settings = settings
        self.clock = clock
        self.render_error = render_error
        self.new_id = new_id
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.turned_away: set[Connection] = set()
        """Connections above the limit whose clients still read why."""
        self.is_draining = False
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(self._loop)
        self.is_empty = asyncio.Event()
        """Set while no connection is open."""
        self.is_empty.set()

    def add(self, connection: Connection) -> None:
        """Count a connection in."""
        self.connections.add(connection)
        self.is_empty.clear()

    def remove(self, connection: Connection) -> None:
        """Count a connection out."""
        self.connections.discard(connection)
        self.turned_away.discard(connection)
        if not self.connections:
            self.is_empty.set()

    @property
    def is_over_limit(self) -> bool:
        """Whether more connections are open than are served."""
        return len(self.connections) - len(self.turned_away) > self.settings.max_connections

    def turn_away(self, connection: Connection) -> bool:
        """Count a connection as one that is not served; False where too many are told so already to tell this one too."""
        self.turned_away.add(connection)
        return len(self.turned_away) <= self.settings.max_connections

    def run(self, request: RawRequest, client: Client, then: Callable[[asyncio.Task[None]], None]) -> None:
        """Run the handler as a task that somebody holds, until `then` is called with it and takes it out of `tasks`."""
        task = self._loop.create_task(self.handler(request, client))
        self.tasks.add(task)
        task.add_done_callback(then)

    def error_answer(self, fault: TurnwiseError, target: str | None) -> tuple[Headers, bytes]:
        """Header fields and body that tell a client of a fault."""
        body = self.render_error(fault, target)
        fields = (
            (b"Content-Type", b"application/json"),
            (names.HEADER_REASON, fault.reason.value.encode()),
            (names.HEADER_REQUEST_ID, self.new_id().encode()),
        )
        return fields, body
