"""State that replicas keep for later calls: which replica holds the answer of which id.

Such a call can go nowhere else. Another replica would refuse it, or answer from a conversation that it has never seen.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from turnwise.errors import ClientFault, Reason
from turnwise.proxy.workers.ports import Siblings
from turnwise.types import DialectName, ReplicaId, Request

CONVERSATION_PREFIX = "conv_"
"""How ids of conversations begin, as those of responses do with `resp_`."""


class Holder(msgspec.Struct, frozen=True, gc=False):
    """A replica in one of its lives: when it restarts, what it held is gone."""

    replica: ReplicaId
    life: int


class HeldState:
    """Holders by response id, bounded: beyond `limit` the id that was used longest ago is forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Not a plain dict: taking its oldest entry walks over all that were moved or taken before.
        self._holders: OrderedDict[str, Holder] = OrderedDict()

    def __len__(self) -> int:
        return len(self._holders)

    def put(self, response_id: str, holder: Holder) -> None:
        """Note who keeps an answer; the last word counts."""
        self._holders[response_id] = holder
        self._holders.move_to_end(response_id)
        if len(self._holders) > self._limit:
            self._holders.popitem(last=False)

    async def seek(self, request: Request, siblings: Siblings) -> None:
        """Wait a moment for what siblings tell, where `request` continues an id that is unknown yet."""
        if not self._knows(request):
            siblings.listen()
            if not self._knows(request):
                await siblings.linger()

    def snapshot(self) -> list[tuple[str, Holder]]:
        """All ids with their holders, the one used longest ago first."""
        return list(self._holders.items())

    def holder(self, request: Request) -> Holder:
        """Who keeps all that `request` continues.

        Raises `ClientFault`: 404 for an id that nobody is known to keep, 400 where two replicas would be needed.
        """
        holders = {self._find(response_id, request) for response_id in request.continues}
        if len(holders) > 1:
            raise ClientFault(
                "What this call continues is kept by different replicas, and no call can go to two",
                param=_param(request.continues[0], request),
            )
        return holders.pop()

    def _knows(self, request: Request) -> bool:
        return all(response_id in self._holders for response_id in request.continues)

    def _find(self, response_id: str, request: Request) -> Holder:
        holder = self._holders.get(response_id)
        if holder is None:
            kind = "Conversation" if response_id.startswith(CONVERSATION_PREFIX) else "Response"
            raise ClientFault(
                f"{kind} with id '{response_id}' not found.",
                reason=Reason.UNKNOWN_RESPONSE,
                status=404,
                param=_param(response_id, request),
            )
        self.put(response_id, holder)
        return holder


def lost(request: Request, replica: ReplicaId, why: str) -> ClientFault:
    """The fault that tells that `replica` kept what `request` continues, and cannot give it any more."""
    response_id = request.continues[0]
    return ClientFault(
        f"Response with id '{response_id}' is lost: the replica that held it, {replica}, {why}",
        reason=Reason.HOLDER_LOST,
        status=404,
        param=_param(response_id, request),
    )


def _param(response_id: str, request: Request) -> str:
    """The field that named the id."""
    if request.dialect is DialectName.STORED:
        return "response_id"
    return "conversation" if response_id.startswith(CONVERSATION_PREFIX) else "previous_response_id"
