"""The HTTP server of the MCP endpoint: uvicorn, on sockets and under signals that are ours."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from turnwise.binding import listening_at
from turnwise.tools_gateway.server.asgi import App

BACKLOG = 1024


class Listening(uvicorn.Server):
    """Serves an ASGI application until it is asked to stop; waits then for what is served, unless forced."""

    def __init__(self, app: App) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        super().__init__(config)
        self.is_listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.is_listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def bind(host: str, port: int, settings: str) -> socket.socket:
    """A socket that is bound; raises `OSError` naming the address and its settings, where the port is taken say."""
    with listening_at(host, port, settings):
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(BACKLOG)
        except OSError:
            bound.close()
            raise
    bound.setblocking(False)
    return bound
