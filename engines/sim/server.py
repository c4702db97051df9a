"""The embedded engine as a process: HTTP by aiohttp, KV events over ZMQ, an end on SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import msgspec
import uvloop
from aiohttp import web

from turnwise.engines.sim.api import EventEndpoints, SimEngine
from turnwise.engines.sim.arguments import add_arguments
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.publisher import ZmqPublisher

__all__ = ["SimAddress", "add_arguments", "run", "run_sim", "serve_sim"]

MAX_BODY_BYTES = 64 * 1024 * 1024
SHUTDOWN_S = 1.0
"""How long answers under way may go on after a signal."""


class SimAddress(msgspec.Struct, frozen=True):
    """Where a served engine is reached; the event addresses are None where it publishes none."""

    url: str
    events: str | None
    replay: str | None


@asynccontextmanager
async def serve_sim(engine: SimEngine) -> AsyncIterator[SimAddress]:
    """Serve one engine on its host and ports while the context lasts; raises `OSError` where a port is taken."""
    options = engine.options
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine)
        if options.publishes_events:
            publisher = ZmqPublisher(engine.log, options.host, options.events_port, options.replay_port)
            stack.callback(publisher.close)
            replays = asyncio.create_task(publisher.serve_replays(), name="sim replays")
            stack.push_async_callback(_cancel, replays)
            engine.endpoints = EventEndpoints(publisher.endpoint, publisher.replay_endpoint)
        runner = web.AppRunner(
            _application(engine),
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=SHUTDOWN_S,
            auto_decompress=False,  # as vLLM, which takes a body as it came
        )
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, options.host, options.port).start()
        port = runner.addresses[0][1]
        endpoints = engine.endpoints
        yield SimAddress(
            url=f"http://{options.host}:{port}",
            events=endpoints.events if endpoints else None,
            replay=endpoints.replay if endpoints else None,
        )


async def run_sim(options: SimOptions) -> None:
    """Serve one engine until SIGTERM or SIGINT; its addresses go to standard output as one line of JSON once it is ready."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    timed = msgspec.structs.replace(options, wall_epoch_s=time.time() - loop.time())
    async with serve_sim(SimEngine(timed)) as address:
        sys.stdout.write(msgspec.json.encode(address).decode() + "\n")
        sys.stdout.flush()
        sys.stderr.write(f"turnwise sim: {options.model} as {options.preset} on {address.url}\n")
        await stop.wait()


def run(args: argparse.Namespace) -> int:
    """Serve as parsed by `add_arguments`; gives the exit status, 2 where an option is wrong or a port is taken."""
    chosen = {name: value for name, value in vars(args).items() if name in SimOptions.__struct_fields__}
    options = SimOptions(**{**chosen, "loras": tuple(args.loras)})
    try:
        options.resolve()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_sim(options))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"turnwise sim: {error}\n")
        return 2
    return 0


def _application(engine: SimEngine) -> web.Application:
    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        target = f"{request.path}?{request.query_string}"
        given = await engine.handle(request.method, target, request.headers, body)
        if isinstance(given.body, bytes):
            return web.Response(status=given.status, headers=dict(given.headers), body=given.body)
        response = web.StreamResponse(status=given.status, headers=dict(given.headers))
        async with aclosing(given.body) as chunks:
            try:
                await response.prepare(request)
                async for chunk in chunks:
                    await response.write(chunk)
                await response.write_eof()
            except ConnectionError:
                return response  # the client has left, and leaving the block aborts the call
        return response

    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.router.add_route("*", "/{path:.*}", answer)
    return application


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
