"""Whether a tools gateway answers, for `turnwise doctor`."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from turnwise.tools_gateway.messages import MAX_LINE_BYTES, VERSION, Hello, encode

TIMEOUT_S = 3.0


class Silent(Exception):
    """No tools gateway of this version answers."""


async def probe(path: str) -> str:
    """Greet the tools gateway at `path`; returns its name, raises `Silent` saying what is wrong."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)
            try:
                writer.write(encode(Hello(name="turnwise doctor")))
                hello = msgspec.json.decode(await reader.readline(), type=Hello)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise Silent("it does not say hello") from None
    except (OSError, ValueError) as error:
        raise Silent(str(error) or type(error).__name__) from None
    if hello.version != VERSION:
        raise Silent(f"it speaks version {hello.version} of the link, this Turnwise {VERSION}")
    return hello.name
