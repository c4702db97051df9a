"""Prompts, resources and templates of all upstreams: which there are for whom, and where one of them lives.

Tools are the registry's. An upstream shows the rest to whoever may call a tool of it, so what nobody has approved, and what a
tenant may not reach, shows nothing; prompts are also held against the tenant's patterns by their public names. What several
list by one name is the first one's of the operator's file, and shown once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from turnwise import strict_json
from turnwise.invisible import in_all_texts, without_comments, without_invisible
from turnwise.tools_gateway.ports import Registry, Upstreams
from turnwise.tools_gateway.settings import UpstreamSettings
from turnwise.tools_gateway.values import Credential, JsonObject, Principal, Request, ToolFault, UpstreamName

logger = logging.getLogger(__name__)

MAX_PAGES = 64
MAX_ITEMS = 4096
"""Of one list of one upstream; what is beyond is not shown."""
MAX_DEPTH = 16
"""Of one item; one that is nested deeper is not shown."""
MAX_LAST = 1024
"""Lists that are kept, of all credentials; the one that was renewed longest ago goes first."""
LIST_S = 5.0
"""How long an upstream may take to list; one that takes longer is shown as it was last."""


class Kind(msgspec.Struct, frozen=True, gc=False):
    """One of the lists that MCP has beside tools."""

    method: str
    capability: str
    member: str
    key: str
    """What tells an item from the others: what clients ask for."""


PROMPTS = Kind("prompts/list", "prompts", "prompts", "name")
RESOURCES = Kind("resources/list", "resources", "resources", "uri")
TEMPLATES = Kind("resources/templates/list", "resources", "resourceTemplates", "uriTemplate")


Reached = Sequence[tuple[UpstreamSettings, Credential]]


class Home(msgspec.Struct, frozen=True):
    """Where an item lives."""

    upstream: UpstreamSettings
    credential: Credential
    name: str
    """As the upstream calls it."""


class Catalogue:
    """Lists what upstreams have, and finds them again by what they listed."""

    def __init__(
        self, upstreams: Upstreams, registry: Registry, settings: Sequence[UpstreamSettings], now: Callable[[], float]
    ) -> None:
        self._upstreams = upstreams
        self._registry = registry
        self._settings = settings
        self._now = now
        self._last: OrderedDict[tuple[str, Kind], list[JsonObject]] = OrderedDict()
        """By id of a credential: what its upstream listed last."""
        self._hidden: set[tuple[str, str, str]] = set()
        """Upstreams of which it is told that one hides what another lists: method, the first, the other."""

    def reached(self, principal: Principal, capability: str) -> list[tuple[UpstreamSettings, Credential]]:
        """The upstreams that a principal may ask for a capability, in the order of the operator's file.

        One that is not connected may have it.
        """
        callable_ = {tool.key.upstream for tool in self._registry.tools(principal)}
        pairs = [
            (upstream, self._registry.credential(UpstreamName(upstream.name), principal))
            for upstream in self._settings
            if upstream.name in callable_
        ]
        return [pair for pair in pairs if self.may_have(pair[1], capability)]

    def may_have(self, credential: Credential, capability: str) -> bool:
        """Whether an upstream declared a capability, or has not declared anything yet."""
        declared = self._upstreams.capabilities(credential)
        return not declared or capability in declared

    async def listed(self, principal: Principal, kind: Kind) -> list[JsonObject]:
        """All items of a kind, in the order of the operator's file and then of the upstream; under their public names."""
        return [shown for _, shown in await self._homes(principal, kind)]

    async def find(self, principal: Principal, kind: Kind, key: str) -> Home | None:
        """Where an item lives that is asked for by `key`; the first of the operator's file where several list it.

        What was listed last is looked at first, so that an upstream which hangs holds up, but for the first time, only what
        nobody has; the prefix of a prompt says which upstream alone is asked.
        """
        if kind is PROMPTS and not self._registry.allows(principal, key):
            return None
        reached = self.reached(principal, kind.capability)
        if kind is PROMPTS:
            reached = [pair for pair in reached if key.startswith(pair[0].public_prefix)]
        places = (RESOURCES, TEMPLATES) if kind is RESOURCES else (kind,)
        for is_afresh in (False, True):
            for place in places:
                lists = await self._lists(reached, place, is_afresh=is_afresh)
                if (home := _found(reached, lists, place, kind, key)) is not None:
                    return home
        return None

    async def _lists(self, reached: Reached, kind: Kind, *, is_afresh: bool) -> list[list[JsonObject]]:
        """What each upstream lists; unless `is_afresh`, what it listed last where it has."""
        asked = [credential for _, credential in reached if is_afresh or (credential.id, kind) not in self._last]
        renewed = dict(zip(asked, await asyncio.gather(*(self._list(each, kind) for each in asked)), strict=True))
        return [renewed[each] if each in renewed else self._last.get((each.id, kind), []) for _, each in reached]

    async def _homes(self, principal: Principal, kind: Kind) -> list[tuple[Home, JsonObject]]:
        reached = self.reached(principal, kind.capability)
        lists = await self._lists(reached, kind, is_afresh=True)
        found: dict[str, tuple[Home, JsonObject]] = {}
        for (upstream, credential), items in zip(reached, lists, strict=True):
            for item in items:
                own = item[kind.key]
                public = upstream.public_prefix + own if kind is PROMPTS else own
                if kind is PROMPTS and not self._registry.allows(principal, public):
                    continue
                home = Home(upstream, credential, own)
                first, _ = found.setdefault(public, (home, {**item, kind.key: public}))
                if first is not home:
                    self._hides(kind, public, first.upstream.name, upstream.name)
        return list(found.values())

    def _hides(self, kind: Kind, public: str, first: str, other: str) -> None:
        """Tell, once for two upstreams, that what one lists cannot be had for the other's."""
        told = (kind.method, first, other)
        if first != other and told not in self._hidden:
            self._hidden.add(told)
            logger.warning("%s: %s and %s both list %s: it is had of %s alone", kind.method, first, other, ascii(public), first)

    async def _list(self, credential: Credential, kind: Kind) -> list[JsonObject]:
        """What an upstream lists; what it listed last where it cannot be asked."""
        deadline = self._now() + LIST_S
        items: list[JsonObject] = []
        params: JsonObject = {}
        try:
            for _ in range(MAX_PAGES):
                request = Request(kind.method, params, deadline)
                page = await self._upstreams.ask(credential, request)
                listed = page.get(kind.member)
                items += [_shown(item, kind) for item in listed if _is_item(item, kind)] if isinstance(listed, list) else []
                cursor = page.get("nextCursor")
                if not isinstance(cursor, str) or len(items) >= MAX_ITEMS:
                    break
                params = {"cursor": cursor}
        except ToolFault:
            items = self._last.get((credential.id, kind), [])
        self._last[credential.id, kind] = items = items[:MAX_ITEMS]
        self._last.move_to_end((credential.id, kind))
        if len(self._last) > MAX_LAST:
            self._last.popitem(last=False)
        return items


def _found(reached: Reached, lists: Sequence[Sequence[JsonObject]], place: Kind, kind: Kind, key: str) -> Home | None:
    """The first upstream that lists an item by its key, or, for a resource among templates, one that makes its URI."""
    is_made = place is TEMPLATES and kind is RESOURCES
    for (upstream, credential), items in zip(reached, lists, strict=True):
        own = key.removeprefix(upstream.public_prefix) if kind is PROMPTS else key
        if any(_matches(item[place.key], own) if is_made else item[place.key] == own for item in items):
            return Home(upstream, credential, own)
    return None


def _is_item(item: Any, kind: Kind) -> bool:
    """Whether an item can be shown: by a key in which nothing is hidden, for it is asked for by just this one."""
    key = item.get(kind.key) if isinstance(item, dict) else None
    return isinstance(key, str) and without_invisible(key) == key and not strict_json.is_deeper(item, MAX_DEPTH)


def _shown(item: JsonObject, kind: Kind) -> JsonObject:
    """An item without what people do not see in it."""
    return {name: value if name == kind.key else in_all_texts(value, _clean) for name, value in item.items()}


def _clean(text: str) -> str:
    return without_comments(without_invisible(text))


def _matches(template: str, uri: str) -> bool:
    try:
        return UriTemplate.parse(template).match(uri) is not None
    except InvalidUriTemplate:
        return False
