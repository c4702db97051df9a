"""The client's end in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from turnwise.proxy.wire.ports import ClientWatcher, ResponseHead


class MemoryClient:
    """A client that keeps what it is given."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.body = b""
        self.is_finished = False
        self.is_aborted = False
        self.is_gone = False
        self.started = asyncio.Event()
        self._watcher: ClientWatcher | None = None

    @property
    def has_started(self) -> bool:
        """See `Client.has_started`."""
        return self.head is not None

    def watch(self, watcher: ClientWatcher | None) -> None:
        """See `Client.watch`."""
        self._watcher = watcher

    def start(self, head: ResponseHead) -> None:
        """See `Client.start`."""
        self.head = head
        self.started.set()

    def write(self, data: bytes) -> None:
        """See `Client.write`."""
        self.body += data

    write_chunk = None
    """See `Client.write_chunk`: nothing is framed."""

    def finish(self, data: bytes = b"") -> None:
        """See `Client.finish`."""
        self.body += data
        self.is_finished = True
        self._watcher = None

    def abort(self) -> None:
        """See `Client.abort`."""
        self.is_aborted = True

    def leave(self) -> None:
        """Close the connection from the client's side."""
        self.is_gone = True
        if self._watcher is not None:
            self._watcher.on_gone()

    @property
    def headers(self) -> dict[str, str]:
        """Fields of the answer, names in lower case."""
        assert self.head is not None
        return {name.lower().decode(): value.decode("latin-1") for name, value in self.head.fields()}

    def json(self) -> Any:
        """Decode the answer's body."""
        return msgspec.json.decode(self.body)
