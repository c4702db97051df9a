"""Where requests to upstreams may go: URLs of the operator's file, and addresses that were checked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from turnwise.errors import SettingsError
from turnwise.tools_gateway.addresses import host_refusal, refusal
from turnwise.tools_gateway.settings import UpstreamSettings

LookUp = Callable[[str, int, socket.AddressFamily], Awaitable[list[str]]]
"""The addresses of a name; raises `OSError`."""


def check_url(upstream: UpstreamSettings) -> None:
    """Raise `SettingsError` where a URL's host is refused: for an address no resolver is asked later."""
    if why := host_refusal(urlsplit(upstream.url).hostname or "", allow_private=upstream.allow_private):
        raise SettingsError(f"upstreams.{upstream.name}.url: {why}")


class CheckedResolver(AbstractResolver):
    """Resolves names to addresses that were checked; connections go to these, so a second answer of DNS changes nothing.

    `look_up` gives the addresses of a name, by the loop's own resolver where it is not given.
    Raises `OSError` where one of a name's addresses is refused: one that leads to both kinds is trusted with neither.
    """

    def __init__(self, *, allow_private: bool, look_up: LookUp | None = None) -> None:
        self._allow_private, self._look_up = allow_private, look_up or _look_up

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """All addresses of a host."""
        return self.checked(host, port, await self._look_up(host, port, family))

    def checked(self, host: str, port: int, addresses: list[str]) -> list[ResolveResult]:
        """The same addresses, as the connector takes them; raises `OSError`."""
        results: list[ResolveResult] = []
        for text in addresses:
            address = ip_address(text.partition("%")[0])
            if why := refusal(address, allow_private=self._allow_private):
                raise OSError(f"{host} leads to {address}, which is refused: {why}")
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            results.append(
                ResolveResult(hostname=host, host=text, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            )
        return results

    async def close(self) -> None:
        """Nothing is held."""


async def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
