"""The client port, held by the supervisor for its workers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from turnwise.binding import listening_at

_Address = tuple[socket.AddressFamily, tuple[object, ...]]


@contextlib.contextmanager
def held_port(host: str, port: int) -> Iterator[int]:
    """Hold a port, a free one for 0, so that workers can listen on it and nobody else; gives the port.

    Its sockets never listen, so no client is dealt to them. Raises `OSError` where `host` is none or the port is taken, also by
    other processes that would share it.
    """
    with contextlib.ExitStack() as stack:
        with listening_at(host, port, "server."):
            for family, address in _addresses(host, port):
                if port:
                    _bound(family, _with_port(address, port), shares=False).close()
                held = stack.enter_context(_bound(family, _with_port(address, port), shares=True))
                port = held.getsockname()[1]
        yield port


def _addresses(host: str, port: int) -> list[_Address]:
    """The addresses that asyncio listens on for `host`."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _with_port(address: tuple[object, ...], port: int) -> tuple[object, ...]:
    return (address[0], port, *address[2:])


def _bound(family: socket.AddressFamily, address: tuple[object, ...], *, shares: bool) -> socket.socket:
    """A bound socket; without `shares` it is an error if anybody listens there."""
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
