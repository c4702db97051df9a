"""Whether calls can be served: asked of the rooms themselves, every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from turnwise.tools_gateway.ports import Registry, Upstreams
from turnwise.tools_gateway.values import Credential, Principal, Request, ToolFault, UpstreamName

INTERVAL_S, AGAIN_S = 10.0, 1.0
"""Between two rounds, while they go well and while they do not."""
ROUND_S = 3.0
"""How long an upstream may take to answer."""


class Readiness:
    """Makes the round of a call, from the registry to an upstream and back; one that answers is enough.

    A gateway whose upstreams are all away can serve nobody. One that is away is that one's matter: `/tools` tells of it.
    """

    def __init__(
        self, upstreams: Upstreams, registry: Registry, names: Sequence[UpstreamName], now: Callable[[], float]
    ) -> None:
        self._upstreams = upstreams
        self._registry = registry
        self._names = names
        self._now = now
        self._why = "it has only just started"
        self.is_stopping = False

    def not_ready(self) -> str:
        """Why calls cannot be served, in a few words; empty where they can."""
        return "it is stopping" if self.is_stopping else self._why

    async def run(self, principal: Principal) -> None:
        """Make the round on behalf of a principal again and again, until cancelled."""
        while True:
            self._why = await self._round(principal)
            await asyncio.sleep(AGAIN_S if self._why else INTERVAL_S)

    async def _round(self, principal: Principal) -> str:
        credentials = [self._registry.credential(name, principal) for name in self._names]
        asked = [asyncio.ensure_future(self._ask(credential)) for credential in credentials]
        try:
            for answered in asyncio.as_completed(asked):
                if not await answered:
                    return ""
        finally:
            for task in asked:
                task.cancel()
        return "no upstream answers: " + "; ".join(task.result() for task in asked) if asked else "no upstream is named"

    async def _ask(self, credential: Credential) -> str:
        """What is wrong with an upstream; empty where it answers."""
        try:
            await self._upstreams.ask(credential, Request("tools/list", {}, self._now() + ROUND_S))
        except ToolFault as fault:
            return fault.message
        return ""
