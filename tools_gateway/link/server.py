"""The socket: takes the connections of proxies, and brings what happens to runs to the proxy that announced them."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from turnwise.tools_gateway.link.connection import Connection
from turnwise.tools_gateway.link.path import SocketPath
from turnwise.tools_gateway.messages import ToolTold
from turnwise.tools_gateway.ports import Runs

logger = logging.getLogger(__name__)


class LinkStats(msgspec.Struct, frozen=True, gc=False):
    """Counts since the start."""

    connections: int
    """Proxies that are connected at this moment; each worker counts."""
    heard: int
    """Messages of proxies."""
    told: int
    """Events of runs that were sent."""
    dropped: int
    """Events of runs for a proxy that had gone, or did not read."""
    malformed: int
    """Connections that were closed because of what they said."""


class Link:
    """Listens at `path` from `open` to `close`; the `Listener` of runs. `name` is this process, for people."""

    def __init__(self, path: str, name: str = "turnwise tools") -> None:
        self.path = path
        self._path = SocketPath(path)
        self._name = name
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._gone = LinkStats(0, 0, 0, 0, 0)

    async def open(self, runs: Runs) -> None:
        """Begin to listen and to hand on what proxies tell; raises `OSError` as `SocketPath.listen` does."""
        listener = self._path.listen()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: self._connected(runs), sock=listener)
        logger.info("proxies tell of tool calls at %s", listener.getsockname())

    async def close(self) -> None:
        """Break off all connections, and give the path back; what they have not settled is void."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.close("the gateway stops")
        await asyncio.gather(*(connection.closed for connection in connections))
        await server.wait_closed()
        self._path.remove()

    def tool_told(self, source: object, told: ToolTold) -> None:
        """Tell the proxy that announced the call; its `source` is the connection."""
        if isinstance(source, Connection):
            source.tell(told)

    @property
    def stats(self) -> LinkStats:
        """Counts since the start, of connections that have ended too."""
        total = self._gone
        for connection in self._connections:
            total = _with(total, connection)
        return msgspec.structs.replace(total, connections=len(self._connections))

    def _connected(self, runs: Runs) -> Connection:
        connection = Connection(runs, self._name, self._ended)
        self._connections.add(connection)
        return connection

    def _ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._gone = _with(self._gone, connection)


def _with(total: LinkStats, connection: Connection) -> LinkStats:
    return LinkStats(
        0,
        total.heard + connection.num_heard,
        total.told + connection.num_told,
        total.dropped + connection.num_dropped,
        total.malformed + connection.is_refused,
    )
