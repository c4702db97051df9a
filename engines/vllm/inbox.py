"""What has arrived at a ZMQ socket, for one who waits on the loop.

pyzmq's own asyncio sockets make a future for each message; one that finds nothing keeps its exception, whose frames keep the
future and the batch before it: at 400 events a second, collecting these cycles held the loop for 5 ms each second.
"""

from __future__ import annotations

import asyncio

import zmq


class Inbox:
    """The messages of `socket`, which somebody else sends with and closes; to be closed before it.

    A ZMQ descriptor tells only that something has changed since the socket was last looked at.
    """

    def __init__(self, socket: zmq.SyncSocket) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self._on_change)

    def take(self) -> list[bytes] | None:
        """The frames of the next message; None where none has arrived."""
        return self._socket.recv_multipart(zmq.NOBLOCK) if self._has_any() else None

    async def wait(self) -> None:
        """Wait, after there was nothing to take, until there may be something, or until `wake` is called."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def next(self) -> list[bytes]:
        """Wait for the next message."""
        while (frames := self.take()) is None:
            await self.wait()
        return frames

    def wake(self) -> None:
        """Let whoever waits look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Watch the socket no more."""
        self._loop.remove_reader(self._descriptor)

    def _on_change(self) -> None:
        if self._has_any():  # a look also quiets the descriptor
            self.wake()

    def _has_any(self) -> bool:
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)
