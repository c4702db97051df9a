"""The tools of all upstreams under their public names, each with whether it may be called and why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from turnwise.invisible import made_visible
from turnwise.settings_tree import meant
from turnwise.tools_gateway.registry.access import Access
from turnwise.tools_gateway.registry.names import NameMap, public_name
from turnwise.tools_gateway.registry.pins import Pin, Pins, Seen, owned
from turnwise.tools_gateway.registry.places import Judged, Place, cleaned_or_not, marks_of
from turnwise.tools_gateway.registry.schemas import Sloppy
from turnwise.tools_gateway.registry.views import View, view_of
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.values import (
    MAX_TOOLS,
    Credential,
    JsonObject,
    Marks,
    Principal,
    Tool,
    ToolKey,
    ToolState,
    UpstreamName,
)

MAX_VIEWS = 4096
"""Sessions of one upstream whose lists are kept apart; the oldest is forgotten for one more."""
MAX_OFFERS = 1024
"""Principals for whom the list stands ready."""


class _Offer(msgspec.Struct, frozen=True):
    """What one principal has."""

    callable: tuple[Tool, ...]
    by_name: Mapping[str, Tool]


class ToolRegistry:
    """Which tools there are, under which names, and which of them may be called.

    `credential` says by what an upstream is reached on behalf of a tenant; what sessions under different credentials see is
    judged apart. An approved tool is offered before its upstream was ever asked, as it was approved and in its place.
    """

    def __init__(
        self, settings: Settings, credential: Callable[[UpstreamName, str], Credential], pins: Pins | None = None
    ) -> None:
        self._upstreams = {UpstreamName(upstream.name): Place(upstream) for upstream in settings.upstreams}
        self._credential = credential
        self._access = Access(settings)
        self._aliases = settings.aliases
        self._pins = pins or Pins()
        self._offers: dict[Principal, _Offer] = {}
        self._cleaned: dict[tuple[ToolKey, str], JsonObject | Sloppy] = {}
        self._tenants = ("", *(tenant.name for tenant in settings.tenants))
        self._by_file = {credential(name, tenant).id: tenant for tenant in reversed(self._tenants) for name in self._upstreams}
        self._passing: dict[str, str] = {}
        self.num_changes = 0
        """Lists that were taken and were other than those before them."""
        self._make_anew()

    def resolve(self, name: str, principal: Principal) -> Tool | None:
        """The tool of a public name, or of an alias that a model may write; None where this principal has none."""
        by_name = self._offer(principal).by_name
        return by_name.get(name) or by_name.get(self._names.by_alias.get(name, ""))

    def tools(self, principal: Principal) -> Sequence[Tool]:
        """Those that this principal may call: by the order of upstreams in the file, then by their own names."""
        return self._offer(principal).callable

    def known(self, principal: Principal) -> Sequence[Tool]:
        """Those that this principal may call, and those that nobody may."""
        return tuple(self._offer(principal).by_name.values())

    def credential(self, upstream: UpstreamName, principal: Principal) -> Credential:
        """What an upstream is shown on behalf of a principal."""
        credential = self._credential(upstream, principal.tenant)
        if credential.id not in self._by_file and credential.id not in self._passing:
            if len(self._passing) >= MAX_VIEWS:
                del self._passing[next(iter(self._passing))]
            self._passing[credential.id] = principal.tenant
        return credential

    def allows(self, principal: Principal, name: str) -> bool:
        """Whether the operator's patterns let a principal have what goes by a public name, of a tool or of a prompt."""
        return self._access.allows(principal, name)

    def learn(self, upstream: UpstreamName, definitions: Sequence[JsonObject], credential: Credential | None = None) -> bool:
        """Take an upstream's list of tools, as a session under `credential` gave it; says whether what is offered has changed.

        Without a credential it is that of the session without a tenant.
        """
        return self.take(self.judge(upstream, definitions, credential or self._credential(upstream, "")))

    def judge(self, upstream: UpstreamName, definitions: Sequence[JsonObject], credential: Credential) -> Judged:
        """Judge a list and change nothing: the part of `learn` that takes long, which any thread may do.

        A definition that was judged before, by its pin, is not judged again.
        """
        place = self._upstreams[upstream]
        view = view_of(definitions, "" if place.settings.shared else self._whose(credential))
        known, found = self._cleaned, {}
        for name, pin in view.pins.items():
            key = ToolKey(upstream, name)
            if (key, pin) not in known:
                found[key, pin] = cleaned_or_not(view.definitions[name], public_name(place.prefix, key))
        return Judged(upstream, credential, view, found)

    def take(self, judged: Judged) -> bool:
        """Go by a list that was judged; says whether what is offered has changed."""
        return self._take(judged)

    def _take(self, judged: Judged) -> bool:
        place = self._upstreams[judged.upstream]
        credential, view = judged.credential, judged.view
        tenant = self._whose(credential)
        known = place.views.get(credential.id)
        if view == known:
            return False
        self.num_changes += 1
        self._cleaned.update(judged.cleaned)
        before = self._ready(place, known, tenant)
        place.views.pop(credential.id, None)
        place.views[credential.id] = view
        while len(place.views) > MAX_VIEWS:
            del place.views[next(iter(place.views))]
        self._make_anew()
        return self._ready(place, view, tenant) != before

    def approve(self, pins: Pins) -> bool:
        """Take what is approved from now on; says whether what is offered has changed."""
        places = [(place, view) for place in self._upstreams.values() for view in (*place.views.values(), None)]
        before = [self._ready(place, view) for place, view in places]
        self._pins = pins
        self._make_anew()
        return [self._ready(place, view) for place, view in places] != before

    def seen(self) -> Seen:
        """What each upstream said last, to the tenants of the file."""
        upstreams: dict[str, list[JsonObject]] = {}
        alike: dict[str, str] = {}
        for place in self._upstreams.values():
            first: dict[frozenset[tuple[str, str]], str] = {}
            for view in sorted(place.views.values(), key=lambda view: view.tenant):
                if view.tenant not in self._tenants:
                    continue
                owner = owned(place.identity, view.tenant)
                is_plain = len(view.given) == len(view.pins)
                same = first.setdefault(frozenset(view.pins.items()), owner) if is_plain else owner
                if same == owner:
                    upstreams[owner] = list(view.given)
                else:
                    alike[owner] = same
        return Seen(upstreams=upstreams, alike=alike)

    def restore(self, seen: Seen) -> None:
        """Take what upstreams said before a restart, until they are asked again."""
        for name, place in self._upstreams.items():
            for tenant in ("",) if place.settings.shared else self._tenants:
                if (found := seen.of(owned(place.identity, tenant))) is not None:
                    self._take(self.judge(name, found, self._credential(name, tenant)))

    def states(self, upstream: UpstreamName, credential: Credential) -> Mapping[str, ToolState]:
        """Of the tools of an upstream as the session under a credential sees them, by their own names."""
        place = self._upstreams[upstream]
        judged = self._judged(place, place.views.get(credential.id), self._whose(credential))
        return {tool.key.tool: tool.state for tool in judged}

    def complaints(self) -> list[str]:
        """What upstreams list that has no place among the tools, and what they do not that the file tells of; in sentences."""
        found: list[str] = []
        for place in self._upstreams.values():
            found += sorted({f"{place.name} {view.refused}" for view in place.views.values() if view.refused})
            num_nameless = max((view.num_nameless for view in place.views.values()), default=0)
            if num_nameless:
                found.append(f"{place.name} lists {num_nameless} tools without a usable name, or beyond the first {MAX_TOOLS}")
            names = self._tool_names(place)
            if place.views and not any(view.refused for view in place.views.values()):
                found += [
                    f"{place.name} has no tool {name}, of which the operator's file says something{meant(name, names)}"
                    for name in place.settings.tools
                    if name not in names
                ]
            for tool in names:
                key = ToolKey(place.name, tool)
                other = self._names.by_name[public_name(place.prefix, key)]
                if other != key:
                    found.append(
                        f"{place.name} has {made_visible(tool)}, whose public name is that of {other.tool}: not offered"
                    )
        return found

    def _whose(self, credential: Credential) -> str:
        """The tenant of a credential; one that nobody asked for here is its own."""
        of_file = self._by_file.get(credential.id)
        return self._passing.get(credential.id, f"?{credential.id}") if of_file is None else of_file

    def _ready(self, place: Place, view: View | None, tenant: str = "") -> list[Tool]:
        return [tool for tool in self._judged(place, view, tenant) if tool.state is ToolState.READY]

    def _make_anew(self) -> None:
        """Make the exact maps anew: name to tool, and alias to name."""
        self._offers.clear()
        self._names = NameMap(
            [
                (place.prefix, ToolKey(place.name, tool))
                for place in self._upstreams.values()
                for tool in self._tool_names(place)
            ],
            self._aliases,
        )
        live = {(ToolKey(place.name, name), pin) for place in self._upstreams.values() for name, pin in self._all_pins(place)}
        self._cleaned = {of: kept for of, kept in self._cleaned.items() if of in live}

    def _all_pins(self, place: Place) -> Iterator[tuple[str, str]]:
        for view in place.views.values():
            yield from view.pins.items()
        for tools in self._pins_of(place):
            yield from ((name, pin.sha256) for name, pin in tools.items())

    def _pins_of(self, place: Place) -> Iterator[Mapping[str, Pin]]:
        own = f"{place.identity}@"
        return (tools for of, tools in self._pins.upstreams.items() if of == place.identity or of.startswith(own))

    def _tool_names(self, place: Place) -> list[str]:
        names = {name for tools in self._pins_of(place) for name in tools}
        for view in place.views.values():
            names |= view.definitions.keys()
        return sorted(names)

    def _offer(self, principal: Principal) -> _Offer:
        offer = self._offers.get(principal)
        if offer is None:
            if len(self._offers) >= MAX_OFFERS:
                del self._offers[next(iter(self._offers))]
            offer = self._offers[principal] = self._offered(principal)
        return offer

    def _offered(self, principal: Principal) -> _Offer:
        by_name: dict[str, Tool] = {}
        for name, place in self._upstreams.items():
            credential = self.credential(name, principal)
            for tool in self._judged(place, place.views.get(credential.id), principal.tenant):
                if self._names.by_name.get(tool.name) == tool.key and self._access.allows(principal, tool.name):
                    by_name[tool.name] = tool
        return _Offer(tuple(tool for tool in by_name.values() if tool.state is ToolState.READY), by_name)

    def _judged(self, place: Place, view: View | None, tenant: str = "") -> Iterator[Tool]:
        """All tools of an upstream as one session sees them; before it has seen any, what is approved stands."""
        if view is not None:
            tenant = view.tenant
        pins = self._pins.of(place.identity, "" if place.settings.shared else tenant)
        if view is None and place.settings.trusted:
            view = next(iter(place.views.values()), None)
        for name in sorted({*pins, *(view.definitions if view else ())}):
            if place.marks(name).enabled:
                yield self._judge(place, name, view, pins.get(name), marks_of(place.marks(name), place.settings))

    def _judge(self, place: Place, name: str, view: View | None, pin: Pin | None, marks: Marks) -> Tool:
        key = ToolKey(place.name, name)
        public = public_name(place.prefix, key)
        given = view.definitions.get(name) if view else None
        given_pin = view.pins.get(name, "") if view else ""
        fault = view.faults.get(name, "") if view else ""
        state, why = ToolState.READY, ""
        if pin is not None and not (place.settings.trusted and given is not None and not fault):
            shown, shown_pin = pin.definition, pin.sha256
            if view is not None and given is None:
                state, why = ToolState.GONE, f"{place.name} {view.refused or 'no longer has it'}"
            elif view is not None and (fault or given_pin != pin.sha256):
                state, why = ToolState.DRIFTED, fault or "its definition is no longer the one that was approved"
        else:
            assert given is not None, "a name is known by its pin or by a list"
            shown, shown_pin = given, given_pin
            if fault:
                state, why = ToolState.QUARANTINED, fault
            elif not place.settings.trusted:
                state, why = ToolState.QUARANTINED, "nobody has approved it"
        definition = self._clean(key, shown, shown_pin, public)
        if isinstance(definition, Sloppy):
            state, why = ToolState.QUARANTINED, f"its definition cannot be taken: {definition}"
            definition = {"name": public, "inputSchema": {"type": "object"}}
        return Tool(name=public, key=key, definition=definition, pin=shown_pin, marks=marks, state=state, why=why)

    def _clean(self, key: ToolKey, definition: JsonObject, pin: str, public: str) -> JsonObject | Sloppy:
        kept = self._cleaned.get((key, pin))
        if kept is None:
            kept = self._cleaned[key, pin] = cleaned_or_not(definition, public)
        return kept
