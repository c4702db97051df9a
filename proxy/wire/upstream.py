"""The answering side on sockets: kept connections to each replica, and one exchange for each request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from turnwise.errors import EngineFault, Reason
from turnwise.proxy.wire.outbox import Outbox
from turnwise.proxy.wire.ports import Origin, Outgoing, Sink
from turnwise.proxy.wire.upstream_connection import UpstreamConnection, encode_request
from turnwise.settings import UpstreamSettings

KEEPALIVE_RACE_S = 0.1
"""How long after a request was written its kept connection may turn out to be closed, so that nobody has read the request.

The news takes one round trip, and here a turn of a busy loop. What dies later may have died of the request, and where it is
sent again is then the caller's choice.
"""


class Pool:
    """Connections to replicas, kept and used again last in, first out: what was used last is least likely to be closed."""

    def __init__(self, settings: UpstreamSettings, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(self._loop)
        self._idle: dict[Origin, list[UpstreamConnection]] = {}
        self._connections: set[UpstreamConnection] = set()
        self._connecting: set[SocketExchange] = set()
        self._is_closed = False

    @property
    def num_idle(self) -> int:
        """Connections that wait for a request."""
        return sum(map(len, self._idle.values()))

    @property
    def num_connections(self) -> int:
        """All open connections."""
        return len(self._connections)

    def open(self, origin: Origin, outgoing: Outgoing, sink: Sink) -> SocketExchange:
        """See `Upstream.open`; raises `ValueError` on a header field that holds a line break."""
        exchange = SocketExchange(self, origin, outgoing, sink, self._clock)
        idle = self._idle.get(origin)
        if idle:
            now = self._clock()
            since = now - self._settings.keepalive_s
            while idle:
                connection = idle.pop()
                if connection.is_usable and connection.idle_since >= since:
                    exchange.send_on(connection, now, race_until=now + KEEPALIVE_RACE_S)
                    return exchange
                connection.close()
        self.connect(exchange)
        return exchange

    def close(self) -> None:
        """Cut every connection, those under way too."""
        self._is_closed = True
        for exchange in tuple(self._connecting):
            exchange.stop_connecting()
            exchange.fail_connect("the proxy is closing")
        for connection in tuple(self._connections):
            connection.drop()

    def connect(self, exchange: SocketExchange) -> None:
        """Open a fresh connection for an exchange."""
        task = exchange.connecting = self._loop.create_task(self._connect(exchange))
        self._connecting.add(exchange)
        task.add_done_callback(lambda _: self._connecting.discard(exchange))

    async def _connect(self, exchange: SocketExchange) -> None:
        origin = exchange.origin
        if self._is_closed:
            exchange.fail_connect("the proxy is closing")
            return
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                _, connection = await self._loop.create_connection(
                    lambda: UpstreamConnection(
                        origin,
                        loop=self._loop,
                        outbox=self._outbox,
                        clock=self._clock,
                        idle_timeout_s=self._settings.idle_timeout_s,
                        keepalive_s=self._settings.keepalive_s,
                        release=self._release,
                        forget=self._forget,
                    ),
                    origin.host,
                    origin.port,
                )
        except TimeoutError:
            exchange.fail_connect(f"no connection within {self._settings.connect_timeout_s:g} s")
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be a host name
            exchange.fail_connect(str(error))
        else:
            self._connections.add(connection)
            exchange.connecting = None
            exchange.send_on(connection, self._clock(), race_until=-math.inf)

    def _release(self, connection: UpstreamConnection) -> bool:
        """Keep a connection whose answer is complete; False where there is no room."""
        idle = self._idle.get(connection.origin)
        if idle is None:
            idle = self._idle[connection.origin] = []
        if self._is_closed or len(idle) >= self._settings.max_idle_connections:
            return False
        idle.append(connection)
        return True

    def _forget(self, connection: UpstreamConnection) -> None:
        """Take a connection that is closing out of the pool."""
        self._connections.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle is not None and connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[connection.origin]


class SocketExchange:
    """One request under way: on a connection, or waiting for one."""

    __slots__ = (
        "_clock",
        "_connection",
        "_head",
        "_is_over",
        "_is_paused",
        "_outgoing",
        "_pool",
        "_race_until",
        "connecting",
        "origin",
        "sink",
    )

    def __init__(self, pool: Pool, origin: Origin, outgoing: Outgoing, sink: Sink, clock: Callable[[], float]) -> None:
        self.origin = origin
        self.sink = sink
        self.connecting: asyncio.Task[None] | None = None
        self._pool = pool
        self._outgoing = outgoing
        self._head = encode_request(origin, outgoing)
        self._connection: UpstreamConnection | None = None
        self._clock = clock
        self._race_until = -math.inf
        self._is_paused = False
        self._is_over = False

    def pause(self) -> None:
        """See `Exchange.pause`."""
        self._is_paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """See `Exchange.resume`."""
        self._is_paused = False
        if self._connection is not None:
            self._connection.resume()

    def abort(self) -> None:
        """See `Exchange.abort`."""
        if self._is_over:
            return
        self._is_over = True
        self.stop_connecting()
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def stop_connecting(self) -> None:
        """Give up the connection that is being made."""
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None

    def send_on(self, connection: UpstreamConnection, now: float, *, race_until: float) -> None:
        """Write the request on a connection and tell the sink."""
        self._connection = connection
        self._race_until = race_until
        outgoing = self._outgoing
        connection.send(self._head, outgoing, self, now)
        if self._is_paused:
            connection.pause()
        self.sink.on_sent()

    def fail_connect(self, why: str) -> None:
        """No connection could be made."""
        self.connecting = None
        self._fail(f"cannot connect to the replica: {why}", Reason.CONNECT_FAILED, is_retryable=True)

    def on_end(self, data: bytes) -> None:
        """See `Listener.on_end`."""
        self._connection = None
        self._is_over = True
        self.sink.on_end(data)

    def on_broken(self, why: str, *, had_bytes: bool) -> None:
        """See `Listener.on_broken`; a kept connection may have been closed while our request was on its way to it."""
        self._connection = None
        if not had_bytes and self._clock() <= self._race_until:
            self._pool.connect(self)
            return
        self._fail(f"the replica broke off: {why}", Reason.STREAM_BROKEN, is_retryable=True)

    def on_silent(self) -> None:
        """See `Listener.on_silent`."""
        self._connection = None
        why = "the replica has sent nothing for the idle timeout"
        self._fail(why, Reason.ENGINE_TIMEOUT, status=504, is_retryable=False)

    def _fail(self, why: str, reason: Reason, *, is_retryable: bool, status: int | None = None) -> None:
        if not self._is_over:
            self._is_over = True
            self.sink.on_failed(EngineFault(why, reason=reason, status=status, retryable=is_retryable))
