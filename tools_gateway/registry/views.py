"""What an upstream said of its tools in one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from turnwise.tools_gateway.registry.definitions import name_of, pin_of
from turnwise.tools_gateway.registry.schemas import Sloppy
from turnwise.tools_gateway.values import JsonObject

MAX_TOOLS = 512
"""Of one upstream; those after are left out."""


class View(msgspec.Struct, frozen=True):
    """One list of tools, each for itself."""

    tenant: str
    given: tuple[JsonObject, ...]
    """As it came, in the order of names."""
    definitions: Mapping[str, JsonObject]
    pins: Mapping[str, str]
    faults: Mapping[str, str]
    """Why a tool cannot be taken, by name."""
    num_nameless: int


def view_of(definitions: Sequence[JsonObject], tenant: str) -> View:
    """What a list says; a definition that cannot be taken takes no other with it."""
    found: dict[str, JsonObject] = {}
    pins: dict[str, str] = {}
    faults: dict[str, str] = {}
    num_nameless = 0
    for definition in definitions:
        try:
            name = name_of(definition)
        except Sloppy:
            num_nameless += 1
            continue
        if name in found:
            faults[name] = "it is listed twice"
            continue
        if len(found) >= MAX_TOOLS:
            num_nameless += 1
            continue
        found[name] = definition
        try:
            pins[name] = pin_of(definition)
        except Sloppy as error:
            faults[name] = str(error)
    given = tuple(sorted(definitions, key=_name_in_order))
    return View(tenant=tenant, given=given, definitions=found, pins=pins, faults=faults, num_nameless=num_nameless)


def _name_in_order(definition: JsonObject) -> str:
    return str(definition.get("name"))
