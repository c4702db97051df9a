"""What upstreams say of their tools that nobody has approved, and what approving it makes of the pins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from turnwise.invisible import made_visible
from turnwise.tools_gateway.registry.definitions import PINNED, cleaned, name_of, pin_of
from turnwise.tools_gateway.registry.names import public_name
from turnwise.tools_gateway.registry.pins import Pin, Pins, Seen, identity, owned
from turnwise.tools_gateway.registry.schemas import Sloppy
from turnwise.tools_gateway.settings import Settings, UpstreamSettings
from turnwise.tools_gateway.values import JsonObject, ToolKey, UpstreamName


class Pending(msgspec.Struct, frozen=True):
    """A definition that waits for an operator."""

    name: str
    """Public."""
    key: ToolKey
    owner: str
    """Identity of the upstream, in a tenant's session where it is for that one alone."""
    sha256: str
    definition: JsonObject
    before: JsonObject | None
    """What was approved of it; None for a tool that is new."""
    fault: str = ""
    """Why it cannot be approved; empty where it can."""


def pending(settings: Settings, pins: Pins, seen: Seen, tenant: str = "") -> list[Pending]:
    """All of them, in the order of the file: of a tenant's sessions, or of everybody's where none is named.

    Without a tenant the first session counts that has the tool: those of tenants may differ, and are then named one by one.
    """
    return [found for upstream in settings.upstreams for found in _of_upstream(upstream, pins, seen, tenant)]


def unlisted(settings: Settings, seen: Seen, tenant: str = "") -> list[UpstreamSettings]:
    """The upstreams whose definitions would have to be approved, and of which no list has come."""
    return [
        upstream
        for upstream in settings.upstreams
        if not upstream.trusted
        and not (seen.of(owned(identity(upstream), tenant)) if tenant else seen.owners(identity(upstream)))
    ]


def approved(pins: Pins, chosen: Sequence[Pending], *, at: str, by: str) -> Pins:
    """The pins with what was chosen; `at` is a moment as RFC 3339."""
    upstreams = {owner: dict(tools) for owner, tools in pins.upstreams.items()}
    for found in chosen:
        pin = Pin(sha256=found.sha256, definition=found.definition, approved_at=at, by=by)
        upstreams.setdefault(found.owner, {})[found.key.tool] = pin
    return Pins(upstreams=upstreams)


def lines(definition: JsonObject | None) -> list[str]:
    """What is pinned of a definition as lines for a person, each hidden character shown as its code point."""
    found: list[str] = []
    for key in PINNED:
        value = (definition or {}).get(key)
        if isinstance(value, str):
            found += [made_visible(f"{key}: {line}") for line in value.split("\n")]
        elif value is not None:
            text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
            found += [made_visible(line) for line in f"{key}: {text}".split("\n")]
    return found


def _of_upstream(upstream: UpstreamSettings, pins: Pins, seen: Seen, tenant: str) -> Iterator[Pending]:
    if upstream.trusted:
        return
    of = identity(upstream)
    prefix = upstream.public_prefix
    known = pins.of(of, tenant)
    for name, definition in sorted(_definitions(of, seen, tenant).items()):
        before = known.get(name)
        key = ToolKey(UpstreamName(upstream.name), name)
        sha256, fault = "", ""
        try:
            sha256 = pin_of(definition)
            cleaned(definition, public_name(prefix, key))
        except Sloppy as error:
            fault = str(error)
        if before is None or before.sha256 != sha256:
            yield Pending(
                name=public_name(prefix, key),
                key=key,
                owner=owned(of, tenant),
                sha256=sha256,
                definition=definition,
                before=before.definition if before else None,
                fault=fault,
            )


def _definitions(of: str, seen: Seen, tenant: str) -> Mapping[str, JsonObject]:
    """By the tool's own name, of the sessions in question."""
    owners = [owned(of, tenant)] if tenant else seen.owners(of)
    found: dict[str, JsonObject] = {}
    for owner in owners:
        for definition in seen.of(owner) or ():
            try:
                found.setdefault(name_of(definition), definition)
            except Sloppy:
                continue
    return found
