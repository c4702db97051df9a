"""Which addresses no upstream may have, and which only by the operator's word; pure."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

METADATA = frozenset(
    ip_address(address)
    for address in (
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
"""Services of clouds that give credentials to whoever asks from within: never an upstream, whatever the file says."""

NAT64 = IPv6Network("64:ff9b::/96")
TRANSLATED = IPv6Network("::ffff:0:0:0/96")
"""IPv4 addresses as stateless translators write them (RFC 2765)."""
_CARRIES_ANY = (IPv6Network("64:ff9b:1::/48"), IPv6Network("::/96"))
"""Translation of one's own, in which nothing tells where the IPv4 address is, and one that was given up: never an upstream."""
_HOME = IPv6Address("::1")
_PRIVATE = "it is private, and `allow_private` is not set"


def refusal(address: IPv4Address | IPv6Address, *, allow_private: bool) -> str:
    """Why an address must not be connected to, in a few words; empty where it may."""
    for seen in (address, *_within(address)):
        if seen in METADATA or seen.is_link_local:
            return "it is a cloud's metadata service or a link-local address"
        if seen.is_multicast or seen.is_unspecified:
            return "it is no address of a server"
        if isinstance(seen, IPv6Address) and seen != _HOME and any(seen in network for network in _CARRIES_ANY):
            return "it carries an IPv4 address that cannot be judged"
        if not seen.is_global and not allow_private and not _is_wrapper(seen):
            return _PRIVATE
    return ""


def host_refusal(host: str, *, allow_private: bool) -> str:
    """The same of a URL's host, as far as its text tells: other names are judged by the addresses that they lead to."""
    try:
        why = refusal(ip_address(host), allow_private=allow_private)
    except ValueError:
        if _is_number(host):
            return f"the address {host} must be written in full"
        is_home = f".{host.rstrip('.')}".endswith(".localhost")
        why = _PRIVATE if is_home and not allow_private else ""
    return f"{host} is refused: {why}" if why else ""


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
    if address in NAT64 or address in TRANSLATED:
        embedded.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in embedded if inner is not None]


def _is_wrapper(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address only carries another one, which is the one that is judged."""
    if isinstance(address, IPv4Address):
        return False
    return address in NAT64 or address in TRANSLATED or bool(address.ipv4_mapped or address.sixtofour)
