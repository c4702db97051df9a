"""`turnwise tools serve`: run the gateway."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import msgspec

from turnwise import __version__, logs
from turnwise.tools_gateway.cli.arguments import add_settings, load_settings_to_serve

if TYPE_CHECKING:
    from turnwise.tools_gateway.server.app import Addresses
    from turnwise.tools_gateway.settings import Settings

HELP = "run the tools gateway in front of MCP servers"
DESCRIPTION = (
    "Run the tools gateway: agents use it as their MCP server, and it calls the upstream servers of the operator's file. "
    "It ends on SIGTERM or SIGINT once the calls under way have ended, for which they have `front.drain_timeout_s`, "
    "at once when asked twice."
)
LEVELS = ("debug", "info", "warning", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what it takes."""
    add_settings(parser)
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="lowest level written (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; 1 where it cannot listen or was stopped at once."""
    settings = load_settings_to_serve(args)
    # Loaded here: the proxy's command line reads this module too, and never needs MCP.
    import uvloop  # noqa: PLC0415 - see above

    from turnwise.tools_gateway.server import app  # noqa: PLC0415 - see above

    logs.set_up(args.log_level)

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        this = asyncio.current_task()
        assert this is not None

        def on_signal() -> None:
            if stop.is_set() and not this.cancelling():
                this.cancel()  # asked twice: do not wait for running calls
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await app.run(settings, stop=stop, on_ready=lambda addresses: _announce(addresses, settings))

    try:
        uvloop.run(serve())
    except asyncio.CancelledError:
        print("turnwise: stopped at once, for it was asked twice: calls under way were cancelled", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"turnwise: cannot listen: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def _announce(addresses: Addresses, settings: Settings) -> None:
    """Say where it listens: to people, and to a program that asked for any free port."""
    link = f", proxies tell it at {addresses.socket}" if addresses.socket else ""
    line = f"turnwise tools {__version__} serves MCP on {addresses.url} (admin and metrics: {addresses.admin_url}{link})"
    print(line, file=sys.stderr, flush=True)
    if 0 in {settings.front.port, settings.front.admin_port}:
        print(msgspec.json.encode(addresses).decode(), flush=True)
