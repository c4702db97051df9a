"""How a session hears of changes, and which resources it is to hear of, from one connection to the next."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from turnwise.tools_gateway.upstreams.connection import Connection
from turnwise.tools_gateway.values import Fault, JsonObject, Request, ToolFault

log = logging.getLogger(__name__)

AGAIN_S, MAX_AGAIN_S = 5.0, 300.0
"""After a stream of news has ended, and at most where streams keep ending: some servers end each at once."""

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
SUBSCRIBE, UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"


class Watching:
    """Keeps the stream of news of one connection after another open; `missed` hears that some may have been lost."""

    def __init__(self, name: str, missed: Callable[[], None]) -> None:
        self._name, self._missed = name, missed
        self._uris: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_heard = asyncio.Event()

    async def begin(self, connection: Connection) -> None:
        """Watch a connection, and have the resources watched that were on the one before."""
        if not connection.greeting.is_modern:
            for uri in sorted(self._uris):
                try:
                    await connection.ask(Request(SUBSCRIBE, {"uri": uri}, math.inf, is_idempotent=True))
                except ToolFault as fault:
                    if fault.fault is not Fault.UPSTREAM_REFUSED:
                        raise
                    self._uris.discard(uri)
        self._start(connection)

    async def end(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    async def subscribe(self, connection: Connection, request: Request) -> JsonObject:
        """Have changes of a resource told, or no more; raises `ToolFault`.

        The older revisions have a request for it. On the newer the stream is opened anew with what is wanted from now on.
        """
        uri = request.params.get("uri")
        if not isinstance(uri, str):
            raise ToolFault(Fault.BAD_ARGUMENTS, "a resource is named by its URI")
        is_wanted = request.method == SUBSCRIBE
        result: JsonObject = {} if connection.greeting.is_modern else await connection.ask(request)
        (self._uris.add if is_wanted else self._uris.discard)(uri)
        if connection.greeting.is_modern:
            await self.end()
            self._start(connection)
            await self._is_heard.wait()
        return result

    def heard(self, method: str) -> None:
        """The upstream said something outside of any request."""
        if method == ACKNOWLEDGED:
            self._is_heard.set()

    def _start(self, connection: Connection) -> None:
        """Begin to watch."""
        self._is_heard.clear()
        self._task = asyncio.create_task(self._watch(connection))

    async def _watch(self, connection: Connection) -> None:
        """Keep news coming; each time they did not, something may have changed unseen."""
        try:
            clock, pause_s = asyncio.get_running_loop().time, AGAIN_S
            while True:
                began = clock()
                if not await self._has_watched(connection):
                    return
                pause_s = AGAIN_S if clock() - began > MAX_AGAIN_S else min(2 * pause_s, MAX_AGAIN_S)
                await asyncio.sleep(pause_s)
                self._missed()
        except Exception:
            log.exception("watching %s ended by a bug", self._name)
        finally:
            self._is_heard.set()

    async def _has_watched(self, connection: Connection) -> bool:
        """Whether there was something to watch."""
        try:
            return await connection.watch(sorted(self._uris))
        except ToolFault as fault:
            return fault.fault is not Fault.UPSTREAM_REFUSED
        finally:
            self._is_heard.set()
