"""Calls between their first block event and the end of their lesson: what was stamped, and what still waits for events."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from turnwise.index.values import Report
from turnwise.types import BlockHash, PromptChain, ReplicaId

MAX_STAMPS = 4096
"""Calls followed at once for one replica; several times what an engine runs at once, since a stamp may be anyone's."""

MAX_PENDING = 1024
"""Answered calls that wait for their events at once."""

PENDING_TTL_S = 30.0
"""How long they wait: events race the answer by milliseconds, a replay takes seconds."""


class PendingCall(msgspec.Struct, frozen=True, gc=False):
    """An answered call whose events have not all come."""

    prompt: PromptChain
    replica: ReplicaId
    report: Report
    since: float


class Stamps:
    """The last block that each call stored at one replica, by the stamp of its events."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, BlockHash] = OrderedDict()

    def put(self, call_id: str, last: BlockHash) -> None:
        """Note a block; the call that stored nothing for longest is forgotten where there are too many."""
        self._last[call_id] = last
        self._last.move_to_end(call_id)
        if len(self._last) > MAX_STAMPS:
            self._last.popitem(last=False)

    def last_block(self, call_id: str) -> BlockHash | None:
        """The last block stored; None where there was none."""
        return self._last.get(call_id)

    def forget(self, call_id: str) -> None:
        """Drop what was noted."""
        self._last.pop(call_id, None)

    def clear(self) -> None:
        """Drop everything."""
        self._last.clear()


class PendingCalls:
    """Answered calls that wait, oldest first."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, PendingCall] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    def put(self, call_id: str, call: PendingCall) -> tuple[str, PendingCall] | None:
        """Let a call wait; returns the one given up for it, if there were too many."""
        self._calls[call_id] = call
        return self._calls.popitem(last=False) if len(self._calls) > MAX_PENDING else None

    def get(self, call_id: str, replica: ReplicaId) -> PendingCall | None:
        """The call, if it waits for events of `replica`."""
        call = self._calls.get(call_id)
        return call if call is not None and call.replica == replica else None

    def pop(self, call_id: str) -> PendingCall | None:
        """Take a call out."""
        return self._calls.pop(call_id, None)

    def pop_expired(self, now: float) -> tuple[str, PendingCall] | None:
        """Take out the oldest call if it has waited too long."""
        if not self._calls or next(iter(self._calls.values())).since > now - PENDING_TTL_S:
            return None
        return self._calls.popitem(last=False)
