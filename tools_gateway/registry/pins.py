"""What an operator has approved: definitions of tools, by the identity of the upstream that gave them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from turnwise.tools_gateway.registry.definitions import pin_of
from turnwise.tools_gateway.registry.schemas import Sloppy
from turnwise.tools_gateway.settings import UpstreamSettings
from turnwise.tools_gateway.values import JsonObject

VERSION = 1
"""Of the files of pins and of definitions."""


class Pin(msgspec.Struct, frozen=True):
    """One approved definition."""

    sha256: str
    definition: JsonObject
    """As the upstream gave it."""
    approved_at: str = ""
    """RFC 3339, for people."""
    by: str = ""
    """Who approved it, as the machine knows them."""


class Pins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that was approved: identity, then the tool's own name."""

    version: int = VERSION
    upstreams: Mapping[str, Mapping[str, Pin]] = {}

    def of(self, identity: str, tenant: str = "") -> Mapping[str, Pin]:
        """What holds for a tenant's session: its own pins before those of everybody."""
        common = self.upstreams.get(identity, {})
        own = self.upstreams.get(owned(identity, tenant), {}) if tenant else {}
        return {**common, **own} if own else common


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What upstreams have given when they were asked last: identity (of a tenant's session), then definitions."""

    version: int = VERSION
    upstreams: Mapping[str, list[JsonObject]] = {}
    alike: Mapping[str, str] = {}
    """Sessions that were told the same as another, and which: the lists of many tenants are most often one."""

    def owners(self, of: str) -> list[str]:
        """The sessions of an upstream, that without a tenant first."""
        return sorted(owner for owner in (*self.upstreams, *self.alike) if owner.partition("@")[0] == of)

    def of(self, owner: str) -> list[JsonObject] | None:
        """What one session was told; None where it was never asked."""
        return self.upstreams.get(self.alike.get(owner, owner))


def identity(upstream: UpstreamSettings) -> str:
    """Of an upstream: the operator's name for it, and what it runs or where it is.

    Another command or URL is another upstream, of which nothing is approved.
    """
    what = upstream.url.encode() if upstream.url else b"\0".join(part.encode() for part in upstream.command)
    return f"{upstream.name}:{sha256(what).hexdigest()[:16]}"


def owned(of: str, tenant: str) -> str:
    """The identity `of` an upstream in the session of one tenant."""
    return f"{of}@{tenant}" if tenant else of


def check_pins(pins: Pins) -> None:
    """Raise `ValueError` for pins of another version, or whose definition is not the one of the hash."""
    if pins.version != VERSION:
        raise ValueError(f"version {pins.version} is not known, only {VERSION}")
    for of, tools in pins.upstreams.items():
        for name, pin in tools.items():
            try:
                is_whole = pin_of(pin.definition) == pin.sha256 and pin.definition.get("name") == name
            except Sloppy:
                is_whole = False
            if not is_whole:
                raise ValueError(f"the definition of {name} under {of} is not the one that was approved")
