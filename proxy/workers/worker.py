"""The process of one worker: `python -m turnwise.proxy.workers.worker`, started by the supervisor alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import msgspec
import uvloop

from turnwise import logs
from turnwise.proxy import app
from turnwise.proxy.workers.order import MAX_LINE_BYTES, READY, Command, Order


def main() -> int:
    """Serve as the supervisor orders; returns the exit status: 0 where all calls could end, else 1."""
    try:
        uvloop.run(_serve())
    except asyncio.CancelledError:
        return 1
    except OSError as error:
        sys.stderr.write(f"turnwise: a worker cannot listen: {error.strerror or error}\n")
        return 1
    return 0


async def _serve() -> None:
    commands = await _commands()
    line = await commands.readline()
    if not line:
        return  # the supervisor is gone before it could say what to serve
    order = msgspec.json.decode(line, type=Order)
    logs.set_up(order.settings.log.level, worker=order.seat.number)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    this = asyncio.current_task()
    assert this is not None
    obeying = asyncio.create_task(_obey(commands, stop, this), name="commands")
    try:
        await app.run(order.settings, stop=stop, on_ready=lambda _: _say_ready(), seat=order.seat)
    finally:
        obeying.cancel()
        await asyncio.gather(obeying, return_exceptions=True)


async def _commands() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _obey(commands: asyncio.StreamReader, stop: asyncio.Event, serving: asyncio.Task[None]) -> None:
    while line := await commands.readline():
        if line.strip() == Command.CUT.encode():
            serving.cancel()
        stop.set()
    stop.set()


def _say_ready() -> None:
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, which the end of the input tells
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
