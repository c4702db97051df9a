"""What MCP has beside tools, passed on to the upstreams: prompts, resources, templates, completion."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from turnwise.tools_gateway.ports import Answer, Audit, Guard, Notify, Upstreams
from turnwise.tools_gateway.server.catalogue import PROMPTS, RESOURCES, TEMPLATES, Catalogue, Home, Kind
from turnwise.tools_gateway.server.client import Client
from turnwise.tools_gateway.server.relay_turns import RelayTurns
from turnwise.tools_gateway.server.rounds import INVALID_PARAMS, Rounds
from turnwise.tools_gateway.values import (
    Caller,
    Credential,
    Fate,
    Fault,
    JsonObject,
    Principal,
    Request,
    ToolFault,
    UpstreamName,
)

Subscription = tuple[Credential, str]
"""With whom, and to which URI."""
ASIDE_S = 5.0
"""How long an upstream may take for what is no work: a level, a subscription."""


class Relay:
    """Asks the upstream where a thing lives, in the name of the client; every method raises `ToolFault`."""

    def __init__(
        self,
        upstreams: Upstreams,
        catalogue: Catalogue,
        rounds: Rounds,
        guard: Guard,
        audit: Audit,
        turns: RelayTurns,
        now: Callable[[], float],
    ) -> None:
        self._upstreams = upstreams
        self._guard = guard
        self._audit = audit
        self._catalogue = catalogue
        self._rounds = rounds
        self._turns = turns
        self._now = now
        self._subscribed: Counter[Subscription] = Counter()

    async def list(self, client: Client, kind: Kind) -> JsonObject:
        """All of a kind that the client may reach."""
        return {kind.member: await self._catalogue.listed(client.principal, kind)}

    async def get_prompt(self, client: Client, params: JsonObject) -> JsonObject:
        """Give a prompt by its public name."""
        home = await self._home(client.principal, PROMPTS, params["name"])
        return await self._ask(client, "prompts/get", home, params["name"], {**params, "name": home.name})

    async def read(self, client: Client, params: JsonObject) -> JsonObject:
        """Read a resource by its URI; for the one who reads, whatever the upstream says of sharing it."""
        home = await self._home(client.principal, RESOURCES, params["uri"])
        result = await self._ask(client, "resources/read", home, params["uri"], params)
        return {**result, "cacheScope": "private"} if "cacheScope" in result else result

    async def complete(self, client: Client, params: JsonObject) -> JsonObject:
        """Complete an argument of a prompt or of a template."""
        ref = params["ref"]
        if ref["type"] == "ref/prompt":
            public = ref["name"]
            home = await self._home(client.principal, PROMPTS, public)
            ref = {**ref, "name": home.name}
        else:
            public = ref["uri"]
            home = await self._home(client.principal, TEMPLATES, public)
        if not self._catalogue.may_have(home.credential, "completions"):
            return {"completion": {"values": []}}
        return await self._ask(client, "completion/complete", home, public, {**params, "ref": ref})

    async def set_level(self, principal: Principal, level: str) -> None:
        """Ask all upstreams that log to do so from `level` on; those that cannot be asked are left."""
        requests = [
            self._upstreams.ask(credential, Request("logging/setLevel", {"level": level}, self._now() + ASIDE_S))
            for _, credential in self._catalogue.reached(principal, "logging")
        ]
        for outcome in await asyncio.gather(*requests, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, ToolFault):
                raise outcome

    async def subscribe(self, principal: Principal, uri: str) -> Subscription:
        """Have the upstream of a resource tell of its changes; gives what takes it back, as often as it was asked."""
        home = await self._home(principal, RESOURCES, uri)
        subscription = (home.credential, uri)
        self._subscribed[subscription] += 1
        if self._subscribed[subscription] == 1:
            try:
                await self._subscribe("resources/subscribe", subscription)
            except BaseException:
                self._take_back(subscription)
                raise
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Take back one subscription, though its resource is gone; the upstream is asked to stop with the last."""
        if self._take_back(subscription):
            await self._subscribe("resources/unsubscribe", subscription)

    def _take_back(self, key: Subscription) -> bool:
        """Count one less; whether it was the last."""
        self._subscribed[key] -= 1
        if self._subscribed[key]:
            return False
        del self._subscribed[key]
        return True

    async def _subscribe(self, method: str, key: Subscription) -> None:
        credential, uri = key
        await self._upstreams.ask(credential, Request(method, {"uri": uri}, self._now() + ASIDE_S))

    async def _home(self, principal: Principal, kind: Kind, key: str) -> Home:
        home = await self._catalogue.find(principal, kind, key)
        if home is None:
            self._audit.refused(key, principal, Fault.UNKNOWN_TOOL)
            message = f"Resource not found: {key}" if kind is RESOURCES else f"Nothing is known by the name {key}"
            error = {"code": INVALID_PARAMS, "message": message, "data": {kind.key: key}}
            raise ToolFault(Fault.UNKNOWN_TOOL, message, error)
        return home

    async def _ask(self, client: Client, method: str, home: Home, public: str, params: JsonObject) -> JsonObject:
        """Ask for what clients know as `public`, a name or a URI, and write that down."""
        own = {key: value for key, value in params.items() if key not in {"_meta", "inputResponses", "requestState"}}
        given = {key: value for key, value in own.items() if key not in {"name", "uri", "ref"}}
        upstream, tenant = UpstreamName(home.upstream.name), client.principal.tenant
        if client.meta:
            own["_meta"] = client.meta

        async def ask(caller: Caller, notify: Notify, answer: Answer | None) -> JsonObject:
            sent = dict(own)
            if caller.input_responses is not None:
                sent["inputResponses"] = caller.input_responses
            if caller.request_state is not None:
                sent["requestState"] = caller.request_state
            request = Request(method, sent, self._now() + home.upstream.deadline_s, caller.capabilities)
            record = self._audit.relayed(method, upstream, public, client.principal, given)
            return await self._written(record, self._answered(home, tenant, request, notify, answer))

        return await self._rounds.run(client, params, (tenant, method, upstream, home.name), ask)

    async def _answered(self, home: Home, tenant: str, request: Request, notify: Notify, answer: Answer | None) -> JsonObject:
        upstream = UpstreamName(home.upstream.name)

        async def ask_client(method: str, params: JsonObject) -> JsonObject:
            assert answer is not None
            return await answer(method, self._guard.relayed(upstream, params))

        try:
            async with self._turns.of(home, tenant, request.method, request.deadline):
                result = await self._upstreams.ask(home.credential, request, notify, None if answer is None else ask_client)
        except ToolFault as fault:
            raise self._guard.refusal(fault) from None
        return self._guard.relayed(upstream, result)

    async def _written(self, record: str, answered: Awaitable[JsonObject]) -> JsonObject:
        """The answer, of which is written what came of it; where the audit cannot be, it is given all the same: it is read."""
        asked_at = self._now()
        fate: Fate = Fate.FAULT
        fault: Fault | None = Fault.BUG
        result: JsonObject | None = None
        try:
            result = await answered
            fate, fault = Fate.SUCCESS, None
        except ToolFault as error:
            fate, fault = error.fate, error.fault
            raise
        except asyncio.CancelledError:
            fate, fault = Fate.CANCELLED, Fault.CANCELLED
            raise
        finally:
            if record:
                self._audit.ended(record, fate, fault, self._now() - asked_at, result)
        return result
