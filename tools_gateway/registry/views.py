"""What an upstream said of its tools in one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from turnwise.tools_gateway.registry.definitions import name_of, pin_of
from turnwise.tools_gateway.registry.schemas import Sloppy
from turnwise.tools_gateway.values import MAX_TOOLS, JsonObject

MAX_LIST_BYTES = 4 * 1024 * 1024
"""Of one list as JSON. The largest of the reference servers (MCP, 2026.8) has 30 KB; a longer list is not taken at all."""


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
    refused: str = ""
    """Why nothing of the list is taken, as a sentence about its upstream; empty where it is."""


def view_of(definitions: Sequence[JsonObject], tenant: str) -> View:
    """What a list says; a definition that cannot be taken takes no other with it, a list that is too long is empty."""
    if num_bytes(definitions, MAX_LIST_BYTES) > MAX_LIST_BYTES:
        refused = f"lists more than {MAX_LIST_BYTES} bytes of tools, so none of them is taken"
        return View(tenant=tenant, given=(), definitions={}, pins={}, faults={}, num_nameless=0, refused=refused)
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


def num_bytes(definitions: Sequence[JsonObject], most: int) -> int:
    """Of definitions as JSON, counted no further than where they are more than `most`; what cannot be written is none."""
    total = 0
    for definition in definitions:
        if total > most:
            break
        with suppress(UnicodeEncodeError, RecursionError, ValueError, TypeError):
            total += len(msgspec.json.encode(definition))
    return total


def _name_in_order(definition: JsonObject) -> str:
    return str(definition.get("name"))
