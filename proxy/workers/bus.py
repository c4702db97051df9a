"""The bus of one worker: gathers what it has to tell, tells it to each sibling, and hears what they tell."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Mapping

import msgspec

from turnwise.index import KvIndex
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.member import Member
from turnwise.proxy.programs import elsewhere
from turnwise.proxy.programs.elsewhere import Elsewhere
from turnwise.proxy.workers import messages
from turnwise.proxy.workers.inbox import Inbox
from turnwise.proxy.workers.links import Link
from turnwise.proxy.workers.messages import MAX_BOUNDARIES, MAX_DATAGRAM_BYTES, MAX_ID_CHARS, Datagram, LoadOf, News, Question
from turnwise.proxy.workers.ports import Booking, Load, Seat
from turnwise.proxy.workers.recall import Recall
from turnwise.types import Answer, CallId, ReplicaId, Usage

FLUSH_S = 0.001
"""How long news are gathered: the shortest timer of the loop, and less than a step of any engine."""

RETRY_S = 0.01
"""Time between two looks at siblings that read too slowly; one that has died does so until it is started again."""

HEARTBEAT_S = 0.5
"""Time between two datagrams that say all of this worker's load."""

ASK_S = 2.0
"""How long a worker that was started again waits for what a sibling remembers; that one may have gone too."""

MAX_ASKED = 3
"""Siblings that it asks, one after the other; where so many have gone, nobody may be left who remembers."""

LINGER_S = 0.1
"""What a sibling knows it tells in the same turn of its loop; only the system can keep it waiting in the midst of one."""

MAX_READS = 64
"""Datagrams taken in at once before the loop may serve others: about a millisecond of work at most loads."""


class Bus:
    """Tells siblings (it is their `Siblings`) and hears them; `join` it to the fleet and index that it fills before it runs.

    With `is_successor`, a process was here before, and siblings may remember what this one cannot know until it is told.
    `schedule(seconds, callback)` is the loop's `call_later`; `clock` gives seconds on the machine's monotonic clock.
    """

    def __init__(
        self,
        number: int,
        inbound: socket.socket,
        links: Mapping[int, Link],
        *,
        clock: Callable[[], float],
        schedule: Callable[[float, Callable[[], None]], object],
        is_successor: bool = False,
    ) -> None:
        self.links = links
        self.num_received = 0
        self.num_malformed = 0
        self.num_oversize = 0
        self._number = number
        self._inbound = inbound
        self._clock = clock
        self._schedule = schedule
        self._buffer = memoryview(bytearray(MAX_DATAGRAM_BYTES))
        self._news: list[News] = []
        self._changed: dict[ReplicaId, None] = {}
        self._soon: list[Callable[[], None]] = []
        self._is_due = False
        self._is_retrying = False
        self._is_informed = not is_successor
        self._asked_at: float | None = None
        self._was_answered = asyncio.Event()

    def join(self, fleet: Fleet, index: KvIndex, programs: Elsewhere | None = None) -> None:
        """Say whose load is told, and who is to know what siblings tell."""
        self._fleet = fleet
        self._inbox = Inbox(self._number, fleet, index, programs)
        self._recall = Recall(self._number, fleet, self.links, lambda datagram, link: self._send(datagram, (link,)))

    @property
    def num_heard(self) -> int:
        """Siblings that are not silent."""
        return self._inbox.num_heard

    async def open(self) -> None:
        """Begin to hear siblings, and catch up with them."""
        asyncio.get_running_loop().add_reader(self._inbound.fileno(), self.listen)
        self.beat()
        await self.catch_up()

    async def catch_up(self) -> None:
        """Ask one sibling after the other what it remembers, until one has answered; only a successor needs to.

        What this worker is asked meanwhile it answers afterwards, since until then it knows nothing.
        """
        asked_at = self._asked_at = self._clock()
        count = len(self.links) + 1
        for step in range(1, min(count, MAX_ASKED + 1)):
            if self._is_informed:
                break
            self.beat(Question((self._number + step) % count, asked_at))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_S):
                    await self._was_answered.wait()
                self._is_informed = True
        self._is_informed = True
        self._wake()

    async def run(self) -> None:
        """Tell siblings that this worker lives, until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(HEARTBEAT_S)

    def beat(self, asks: Question | None = None) -> None:
        """Tell all load, and give up siblings that are silent."""
        self._changed = dict.fromkeys(self._fleet.members)
        self._tell_now(is_whole=True, asks=asks)
        self._inbox.drop_silent(self._clock())

    def booked(self, booking: Booking) -> None:
        """See `Siblings.booked`."""
        if booking.chain is not None and len(booking.chain.digests) > MAX_BOUNDARIES:
            self.num_oversize += 1
        self._changed[booking.replica] = None
        self._tell(messages.booked(booking))

    def told(self, news: elsewhere.News) -> None:
        """A call of a program began or ended here, or a program was ended."""
        self._tell(news)

    def soon(self, gather: Callable[[], None]) -> None:
        """Let `gather` tell what it has, once, before siblings are next told of what was gathered."""
        self._soon.append(gather)
        self._wake()

    def changed(self, replica: ReplicaId) -> None:
        """See `Siblings.changed`."""
        self._changed[replica] = None
        self._wake()

    def settled(
        self, call_id: CallId, replica: ReplicaId, usage: Usage | None, answer: Answer | None, *, is_lesson: bool
    ) -> None:
        """See `Siblings.settled`."""
        self._tell(messages.Settled(call_id, replica, usage, answer, is_lesson))

    def learned(self, replica: ReplicaId, tokens_per_s: float) -> None:
        """See `Siblings.learned`."""
        self._tell(messages.Learned(replica, tokens_per_s))

    def loaded(self, replica: ReplicaId, medium: str, token_s: float) -> None:
        """See `Siblings.loaded`."""
        self._tell(messages.Loaded(replica, medium, token_s))

    def kept(self, response_id: str, replica: ReplicaId) -> None:
        """See `Siblings.kept`; it is told at once, for the client's next call may come to a sibling."""
        if len(response_id) > MAX_ID_CHARS:
            self.num_oversize += 1
            return
        self._news.append(messages.Kept(response_id, replica))
        self._tell_now()

    def listen(self) -> None:
        """See `Siblings.listen`."""
        for _ in range(MAX_READS):
            try:
                size = self._inbound.recv_into(self._buffer)
            except BlockingIOError:
                return
            self._take(self._buffer[:size])

    async def linger(self) -> None:
        """See `Siblings.linger`."""
        await asyncio.sleep(LINGER_S)
        self.listen()

    def flush(self) -> None:
        """Tell what was gathered, and some of what is owed."""
        self._is_due = False
        soon, self._soon = self._soon, []
        for gather in soon:
            gather()
        if self._news or self._changed:
            self._tell_now()
        if self._is_informed and self._recall.pay():
            self._wake()

    def retry(self) -> None:
        """Send on what waits for siblings that could not take it."""
        self._is_retrying = False
        for sibling, link in self.links.items():
            link.retry()
            if link.has_missed and not link.has_backlog:
                # State heals with the next datagram, but a response that nobody tells of again would stay unknown.
                link.has_missed = False
                self._recall.owe(sibling)
        self._retry_later()
        self._wake()

    def close(self) -> None:
        """Tell what is left, and hear nobody any more; the supervisor keeps the sockets for the next process."""
        self.flush()
        asyncio.get_running_loop().remove_reader(self._inbound.fileno())
        self._inbound.close()

    def _tell(self, news: News) -> None:
        self._news.append(news)
        self._wake()

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._schedule(FLUSH_S, self.flush)

    def _tell_now(self, *, is_whole: bool = False, asks: Question | None = None) -> None:
        """Send what was gathered to every sibling; whoever cannot take it now gets it later, in order."""
        now = self._clock()
        members = self._fleet.members
        loads = tuple([self._load_of(members[replica], now) for replica in self._changed])
        datagram = Datagram(self._number, loads, tuple(self._news), is_whole=is_whole, asks=asks)
        self._news.clear()
        self._changed.clear()
        self._send(datagram, self.links.values())

    def _send(self, datagram: Datagram, links: Iterable[Link]) -> None:
        for data in messages.encode(datagram, self._count_oversize):
            for link in links:
                link.send(data)
        self._retry_later()

    def _count_oversize(self) -> None:
        self.num_oversize += 1

    def _retry_later(self) -> None:
        if not self._is_retrying and any(link.has_backlog for link in self.links.values()):
            self._is_retrying = True
            self._schedule(RETRY_S, self.retry)

    def _load_of(self, member: Member, now: float) -> LoadOf:
        """This worker's own part of a member's load."""
        elsewhere = member.elsewhere
        load = Load(
            member.num_running - elsewhere.num_running,
            member.running_tokens - elsewhere.running_tokens,
            self._fleet.pending_prefill_tokens(member, now) - elsewhere.pending_tokens,
        )
        return LoadOf(member.id, load, member.open_until)

    def _take(self, data: memoryview) -> None:
        try:
            datagram = messages.decode(data)
        except (msgspec.DecodeError, ValueError):
            self.num_malformed += 1
            return
        if datagram.sender not in self.links:
            self.num_malformed += 1
            return
        self.num_received += 1
        if datagram.answers is not None and datagram.answers == self._asked_at:
            self._was_answered.set()
        if datagram.asks is not None and datagram.asks.sibling == self._number:
            self._recall.owe(datagram.sender, datagram.asks.asked_at)
            self._wake()
        self._inbox.take(datagram, self._clock())


def bus_at(seat: Seat, *, clock: Callable[[], float], schedule: Callable[[float, Callable[[], None]], object]) -> Bus:
    """The bus over the sockets that a worker has inherited."""
    links = {number: Link(socket.socket(fileno=fd)) for number, fd in seat.sibling_fds.items()}
    inbound = socket.socket(fileno=seat.inbound_fd)
    return Bus(seat.number, inbound, links, clock=clock, schedule=schedule, is_successor=seat.is_successor)
