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
        self._stream: asyncio.Task[bool] | None = None
        self._is_other = asyncio.Event()
        """Whether other resources are wanted than those of the stream."""
        self._waiting: list[asyncio.Event] = []
        self._num_covered = 0
        """Of those who wait, from the first on: the stream is of what they want, and they wait for its acknowledgement."""

    async def begin(self, connection: Connection) -> None:
        """Watch a connection, and have the resources watched that were on the one before."""
        if not connection.greeting.is_modern:
            for uri in sorted(self._uris):
                try:
                    await connection.ask(Request(SUBSCRIBE, {"uri": uri}, math.inf))
                except ToolFault as fault:
                    if fault.fault is not Fault.UPSTREAM_REFUSED:
                        raise
                    self._uris.discard(uri)
        self._task = asyncio.create_task(self._watch(connection))

    async def end(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    async def subscribe(self, connection: Connection, request: Request) -> JsonObject:
        """Have changes of a resource told, or no more; raises `ToolFault`.

        The older revisions have a request for it. On the newer the one stream is opened anew with what is wanted from now on,
        once for all who ask at the same time.
        """
        uri = request.params.get("uri")
        if not isinstance(uri, str):
            raise ToolFault(Fault.BAD_ARGUMENTS, "a resource is named by its URI")
        is_wanted = request.method == SUBSCRIBE
        result: JsonObject = {} if connection.greeting.is_modern else await connection.ask(request)
        (self._uris.add if is_wanted else self._uris.discard)(uri)
        if connection.greeting.is_modern:
            self._waiting.append(heard := asyncio.Event())
            self._is_other.set()
            if self._stream is not None:
                self._stream.cancel()
            await heard.wait()
        return result

    def heard(self, method: str) -> None:
        """The upstream said something outside of any request."""
        if method == ACKNOWLEDGED:
            self._release(self._num_covered)

    async def _watch(self, connection: Connection) -> None:
        """Keep news coming; each time they did not, something may have changed unseen."""
        try:
            clock, pause_s = asyncio.get_running_loop().time, AGAIN_S
            while True:
                began = clock()
                is_offered = await self._follow(connection)
                if is_offered is None:
                    continue
                pause_s = AGAIN_S if clock() - began > MAX_AGAIN_S else min(2 * pause_s, MAX_AGAIN_S)
                try:
                    async with asyncio.timeout(pause_s if is_offered else None):
                        await self._is_other.wait()
                except TimeoutError:
                    self._missed()
        except Exception:
            log.exception("watching %s ended by a bug", self._name)
        finally:
            self._release(len(self._waiting))

    async def _follow(self, connection: Connection) -> bool | None:
        """One stream to its end: whether there was something to watch, None where something else is wanted."""
        self._is_other.clear()
        self._num_covered = len(self._waiting)
        self._stream = stream = asyncio.create_task(self._has_watched(connection))
        try:
            await asyncio.wait((stream,))
            if stream.cancelled():
                return None
            self._release(self._num_covered)
            return stream.result()
        finally:
            self._stream, self._num_covered = None, 0
            if not stream.done():
                stream.cancel()
                await asyncio.wait((stream,))

    async def _has_watched(self, connection: Connection) -> bool:
        """Whether there was something to watch."""
        try:
            return await connection.watch(sorted(self._uris))
        except ToolFault as fault:
            return fault.fault is not Fault.UPSTREAM_REFUSED

    def _release(self, number: int) -> None:
        """Let so many go on who waited for longest."""
        for heard in self._waiting[:number]:
            heard.set()
        del self._waiting[:number]
        self._num_covered = 0
