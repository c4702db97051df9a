"""The body of an endpoint's answer, taken piece by piece and no faster than its upstream may talk."""

from __future__ import annotations

import asyncio

import aiohttp

from turnwise.tools_gateway.upstreams.allowance import EACH, Allowance, hold

PIECE_BYTES = 16 * 1024
"""Looked at at once, before the loop goes on to others; of what was sent and not looked at twice as much is kept."""


class Intake:
    """Reads one body; `allowance` is what its upstream has for all that it sends at once.

    An answer of up to 16 MiB in whole pieces passes without a wait, for it weighs no more than a second gives. Small talk, and
    what comes byte by byte, is read in more and more at once, and so less and less often.
    """

    def __init__(self, response: aiohttp.ClientResponse, allowance: Allowance) -> None:
        self._response, self._allowance = response, allowance
        self._clock = asyncio.get_running_loop().time
        self._owed = 0

    def weigh(self, noise: int) -> None:
        """So much of the last piece was no answer, by weight."""
        self._owed += noise

    async def read(self) -> bytes:
        """The next piece once the last one is paid for, empty at the end; until then nothing is read of the socket."""
        content = self._response.content
        if self._owed and not content.at_eof():
            pause_s, connection = self._allowance.take(self._owed, self._clock()), self._response.connection
            if pause_s and connection is not None and connection.transport is not None:
                hold(connection.transport, pause_s)
            await asyncio.sleep(pause_s)
        self._owed = EACH
        return await content.read(PIECE_BYTES)
