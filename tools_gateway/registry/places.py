"""One upstream in the registry, and one list of it that was judged."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from turnwise.tools_gateway.registry.definitions import cleaned
from turnwise.tools_gateway.registry.pins import identity
from turnwise.tools_gateway.registry.schemas import Sloppy
from turnwise.tools_gateway.registry.views import View
from turnwise.tools_gateway.settings import ToolMarks, UpstreamSettings
from turnwise.tools_gateway.values import Credential, JsonObject, Marks, ToolKey, UpstreamName

_NO_MARKS = ToolMarks()


class Place:
    """What is known of one upstream; `views` are what its sessions were told, by the id of their credential."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self.settings = settings
        self.name = UpstreamName(settings.name)
        self.prefix = settings.public_prefix
        self.identity = identity(settings)
        self.views: dict[str, View] = {}

    def marks(self, tool: str) -> ToolMarks:
        """What the operator's file says of a tool by its own name."""
        return self.settings.tools.get(tool, _NO_MARKS)


class Judged(msgspec.Struct, frozen=True):
    """One list of tools, judged, which nothing has been made of yet."""

    upstream: UpstreamName
    credential: Credential
    view: View
    cleaned: Mapping[tuple[ToolKey, str], JsonObject | Sloppy]
    """What was not known already, by tool and pin."""


def cleaned_or_not(definition: JsonObject, public: str) -> JsonObject | Sloppy:
    """The definition as it is shown, or why it cannot be."""
    try:
        return cleaned(definition, public)
    except Sloppy as error:
        return error


def marks_of(marks: ToolMarks, upstream: UpstreamSettings) -> Marks:
    """The marks with what the upstream says of all its tools."""
    return Marks(
        is_read_only=marks.read_only,
        is_idempotent=marks.idempotent,
        is_open_world=marks.open_world,
        is_early=marks.early,
        is_shared=marks.shared,
        ttl_s=marks.ttl_s,
        deadline_s=upstream.deadline_s if marks.deadline_s is None else marks.deadline_s,
        max_running=upstream.max_running if marks.max_running is None else marks.max_running,
    )
