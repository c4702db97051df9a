"""What siblings told, taken into the fleet and the index of this worker."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from turnwise.index import KvIndex, Report
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.held import Holder
from turnwise.proxy.member import Member
from turnwise.proxy.programs.elsewhere import Began, Elsewhere, Finished, Over, Ran
from turnwise.proxy.workers.messages import Booked, Datagram, Kept, Learned, Loaded, LoadOf, Settled
from turnwise.proxy.workers.ports import NO_LOAD, Load
from turnwise.types import CallId, PromptChain, ReplicaId

SILENT_S = 2.0
"""A sibling that told nothing for so long counts as gone: four heartbeats."""

MAX_WAITING_BOUNDARIES = 262_144
"""Boundaries of booked chains that wait for their call to settle: about 25 MB, and a thousand calls of 250 messages."""

FIRST_LIFE = 1
"""The life of a replica that this worker has not reached yet, once it has."""


class Inbox:
    """Applies datagrams; the one writer of `Member.elsewhere`. `programs` is None where none are told apart."""

    def __init__(self, number: int, fleet: Fleet, index: KvIndex, programs: Elsewhere | None) -> None:
        self._number = number
        self._fleet = fleet
        self._programs = programs
        self._index = index
        self._loads: dict[int, dict[ReplicaId, Load]] = {}
        self._heard_at: dict[int, float] = {}
        self._waiting = _WaitingChains()

    @property
    def num_heard(self) -> int:
        """Siblings that are not silent."""
        return len(self._heard_at)

    def take(self, datagram: Datagram, now: float) -> None:
        """Apply what one datagram says."""
        self._heard_at[datagram.sender] = now
        if datagram.is_whole or datagram.loads:
            self._take_loads(datagram)
        for item in datagram.news:
            if isinstance(item, Began | Finished | Over | Ran):
                if self._programs is not None:
                    self._programs.heard(item, datagram.sender, now)
                continue
            member = self._fleet.members.get(item.replica)
            if member is None:
                continue
            if isinstance(item, Booked):
                self._take_booked(item, member, now)
            elif isinstance(item, Settled):
                self._take_settled(item, now)
            elif isinstance(item, Learned):
                self._fleet.believe_speed(member, item.tokens_per_s)
            elif isinstance(item, Loaded):
                member.loading.learn(item.medium, item.token_s)
            elif isinstance(item, Kept):
                self._take_kept(item, member)

    def drop_silent(self, now: float) -> None:
        """Drop the load of every sibling that has not been heard lately."""
        for sender, heard_at in list(self._heard_at.items()):
            if now - heard_at > SILENT_S:
                del self._heard_at[sender]
                self._count(self._loads.pop(sender, {}))
                if self._programs is not None:
                    heir = min((self._number, *self._heard_at))
                    self._programs.lost(sender, None if heir == self._number else heir)

    def _take_loads(self, datagram: Datagram) -> None:
        told = {item.replica: item.load for item in datagram.loads}
        known = self._loads.setdefault(datagram.sender, {})
        gone = known.keys() - told.keys() if datagram.is_whole else ()
        for replica in gone:
            del known[replica]
        known.update(told)
        self._count((*told, *gone))
        for item in datagram.loads:
            self._take_breaker(item)

    def _take_breaker(self, item: LoadOf) -> None:
        member = self._fleet.members.get(item.replica)
        if member is not None:
            self._fleet.hear_refused(member, item.open_until)

    def _count(self, replicas: Iterable[ReplicaId]) -> None:
        """Count anew what siblings have booked on `replicas`, in place of what was counted before."""
        for replica in replicas:
            member = self._fleet.members.get(replica)
            if member is None:
                continue
            num_running, running_tokens, pending_tokens = 0, 0, 0.0
            for known in self._loads.values():
                load = known.get(replica, NO_LOAD)
                num_running += load.num_running
                running_tokens += load.running_tokens
                pending_tokens += load.pending_tokens
            before = member.elsewhere
            member.num_running += num_running - before.num_running
            member.running_tokens += running_tokens - before.running_tokens
            member.elsewhere = Load(num_running, running_tokens, pending_tokens)

    def _take_booked(self, item: Booked, member: Member, now: float) -> None:
        member.assign(item.assigned_s, item.uncached_tokens, now)
        if item.digests:
            chain = PromptChain(item.digests, item.ends, item.answer, item.template)
            self._index.book(item.call_id, chain, member.id, item.prompt_tokens, now, reports=item.reports)
            if item.is_whole:
                self._waiting.put(item.call_id, chain)

    def _take_settled(self, item: Settled, now: float) -> None:
        chain = self._waiting.pop(item.call_id)
        if chain is None or not item.is_lesson:
            self._index.forget_call(item.call_id)
            return
        self._index.settle(item.call_id, chain, item.replica, Report.of(item.usage, item.answer), now)

    def _take_kept(self, item: Kept, member: Member) -> None:
        # Lives are counted by each worker for itself.
        self._fleet.held.put(item.response_id, Holder(member.id, max(member.life, FIRST_LIFE)))


class _WaitingChains:
    """Chains of calls that are booked and not settled, bounded: the one that was booked longest ago is given up."""

    def __init__(self) -> None:
        self._chains: OrderedDict[CallId, PromptChain] = OrderedDict()
        self._num_boundaries = 0

    def put(self, call_id: CallId, chain: PromptChain) -> None:
        """Keep a chain until its call settles; a call that is tried again has one chain."""
        self.pop(call_id)
        self._chains[call_id] = chain
        self._num_boundaries += len(chain.digests)
        while self._num_boundaries > MAX_WAITING_BOUNDARIES:
            self._num_boundaries -= len(self._chains.popitem(last=False)[1].digests)

    def pop(self, call_id: CallId) -> PromptChain | None:
        """Take a chain out; None where its booking was not heard, or is too long ago."""
        chain = self._chains.pop(call_id, None)
        if chain is not None:
            self._num_boundaries -= len(chain.digests)
        return chain
