"""Where requests to upstreams may go: URLs of the operator's file, and addresses that were checked."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from turnwise.errors import SettingsError
from turnwise.tools_gateway.settings import UpstreamSettings

METADATA = frozenset(
    ip_address(address) for address in ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")
)
"""Services of clouds that give credentials to whoever asks from within: never an upstream, whatever the file says."""

NAT64 = IPv6Network("64:ff9b::/96")


def refusal(address: IPv4Address | IPv6Address, *, allow_private: bool) -> str:
    """Why an address must not be connected to, in a few words; empty where it may."""
    for seen in (address, *_within(address)):
        if seen in METADATA or seen.is_link_local:
            return "it is a cloud's metadata service or a link-local address"
        if seen.is_multicast or seen.is_unspecified:
            return "it is no address of a server"
        if not seen.is_global and not allow_private and not _is_wrapper(seen):
            return "it is private, and `allow_private` is not set"
    return ""


def check_url(upstream: UpstreamSettings) -> None:
    """Raise `SettingsError` where a URL's host is an address that is refused: no resolver is asked for it later."""
    host = urlsplit(upstream.url).hostname or ""
    key = f"upstreams.{upstream.name}.url"
    try:
        literal = ip_address(host)
    except ValueError:
        if _is_number(host):
            raise SettingsError(f"{key}: the address {host} must be written in full") from None
        return
    if why := refusal(literal, allow_private=upstream.allow_private):
        raise SettingsError(f"{key}: {host} is refused: {why}")


class CheckedResolver(AbstractResolver):
    """Resolves names to addresses that were checked; connections go to these, so a second answer of DNS changes nothing.

    Raises `OSError` where one of a name's addresses is refused: one that leads to both kinds is trusted with neither.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """All addresses of a host."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        return self.checked(host, port, [str(address[0]) for *_, address in found])

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


def _is_number(host: str) -> bool:
    """Whether a host is one of the short and octal forms that the C library reads as addresses and nobody else does."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def _within(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, IPv4Address):
        return []
    teredo = address.teredo
    embedded = [address.ipv4_mapped, address.sixtofour, teredo[1] if teredo else None]
    if address in NAT64:
        embedded.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in embedded if inner is not None]


def _is_wrapper(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address only carries another one, which is the one that is judged."""
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None
