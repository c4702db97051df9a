"""Waiting for what was started."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time

from bench.proxy.processes import Process, ProcessError

READY_S, PAUSE_S = 30.0, 0.1


def wait_until_listening(process: Process, port: int) -> None:
    """Wait until a port takes connections; raises `ProcessError` where that does not come."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        process.check()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(PAUSE_S)
    raise ProcessError(f"{process.name} does not listen within {READY_S:g} s")


def wait_until_ready(process: Process, admin_port: int) -> None:
    """Wait until a gateway says on its admin port that it can serve; raises `ProcessError` where that does not come."""
    deadline = time.monotonic() + READY_S
    said = "nothing"
    while time.monotonic() < deadline:
        process.check()
        connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=5)
        try:
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            said = answer.read(500).decode(errors="replace")
            if answer.status == 200:
                return
        except (OSError, http.client.HTTPException) as error:
            said = str(error)
        finally:
            connection.close()
        time.sleep(PAUSE_S)
    raise ProcessError(f"{process.name} is not ready within {READY_S:g} s: {said}")
