"""What is said of an address that a process listens on: why it cannot, and that others than this machine reach it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from ipaddress import ip_address


@contextlib.contextmanager
def listening_at(host: str, port: int, settings: str) -> Iterator[None]:
    """Have an `OSError` of listening name the address and its settings, `server.` for `server.host` and `server.port`."""
    try:
        yield
    except OSError as error:
        # Loops word the errors of the system anew, around an address of their own; those of look-ups are below 0 and no such.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        said = f"{host}:{port}: {why}; see `{settings}host` and `{settings}port`"
        raise OSError(error.errno, said) from error


def is_loopback(host: str) -> bool:
    """Whether a host of a URL or setting is this machine, by its name or number alone; any other name may be anywhere."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
