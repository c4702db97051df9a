"""What this worker remembers for siblings that could not hear it when it was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from turnwise.proxy.fleet import Fleet
from turnwise.proxy.workers.links import Link
from turnwise.proxy.workers.messages import MAX_ID_CHARS, Datagram, Kept, Learned, Loaded

KEPT_PER_DATAGRAM = 256


class Recall:
    """Owes siblings all that they cannot hear from replicas, and pays it in parts; `send` sends one part over one link."""

    def __init__(self, number: int, fleet: Fleet, links: Mapping[int, Link], send: Callable[[Datagram, Link], None]) -> None:
        self._number = number
        self._fleet = fleet
        self._links = links
        self._send = send
        self._owed: dict[int, Iterator[Datagram]] = {}
        self._asked_at: dict[int, float] = {}

    def owe(self, sibling: int, asked_at: float | None = None) -> None:
        """Begin anew to tell `sibling` all, for what it got before may have died with its process; None: it did not ask."""
        if asked_at is not None:
            self._asked_at[sibling] = asked_at
        self._owed[sibling] = self._remembered(sibling)

    def pay(self) -> bool:
        """Send one part to every sibling that is not busy with what it got; returns whether more can be sent now."""
        for sibling, rest in list(self._owed.items()):
            link = self._links[sibling]
            if link.has_backlog:
                continue
            datagram = next(rest, None)
            if datagram is None:
                del self._owed[sibling]
            else:
                self._send(datagram, link)
        return any(not self._links[sibling].has_backlog for sibling in self._owed)

    def _remembered(self, sibling: int) -> Iterator[Datagram]:
        """All of it when the first part is sent, what was used longest ago first."""
        members = self._fleet.members
        speeds = [
            Learned(member.id, member.learned_tokens_per_s)
            for member in members.values()
            if member.learned_tokens_per_s is not None
        ]
        loads = [Loaded(member.id, *told) for member in members.values() for told in member.loading.taught]
        yield Datagram(self._number, news=(*speeds, *loads))
        held = iter(self._fleet.held.snapshot())
        while part := list(islice(held, KEPT_PER_DATAGRAM)):
            kept = [
                Kept(response_id, holder.replica)
                for response_id, holder in part
                if len(response_id) <= MAX_ID_CHARS and members[holder.replica].life == holder.life
            ]
            yield Datagram(self._number, news=tuple(kept))
        asked_at = self._asked_at.pop(sibling, None)
        if asked_at is not None:
            yield Datagram(self._number, answers=asked_at)
