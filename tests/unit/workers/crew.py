"""Workers without processes: buses over real sockets, flushed by hand on a clock that the test holds."""

import asyncio

from turnwise.index import DomainKey, KvIndex
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.workers.bus import Bus
from turnwise.settings import IndexSettings, PolicySettings, Replica, Settings
from turnwise.types import CallId, DialectName, Digest, Hit, Placement, PromptChain, ReplicaId, Request, Terms

R0, R1 = ReplicaId("r0"), ReplicaId("r1")
SETTINGS = Settings(
    replicas=(Replica(url="http://a:1", name="r0"), Replica(url="http://b:1", name="r1")),
    policy=PolicySettings(prefill_tokens_per_s=1000.0),
)


class Worker:
    """One worker without its pipeline: fleet, index and bus."""

    def __init__(self, number, inbound, links, clock, *, is_successor=False):
        self.inbound = inbound
        self.links = links
        self.due = []
        self.clock = clock
        self.index = KvIndex(IndexSettings())
        self.bus = Bus(
            number,
            inbound,
            links,
            clock=clock,
            schedule=lambda seconds, callback: self.due.append(callback),
            is_successor=is_successor,
        )
        self.fleet = Fleet(SETTINGS, self.index, self.bus)
        self.bus.join(self.fleet, self.index)
        for member in self.fleet.members.values():
            member.life = 1
            member.is_healthy = True
            self.index.add_replica(member.id, DomainKey("m"), num_blocks=None, has_events=False)

    def tell(self):
        """Run what the bus has asked its loop for."""
        due, self.due[:] = list(self.due), []
        for callback in due:
            callback()

    def book(self, replica=R0, *, chain=None, tokens=1000, call_id="c", **fields):
        request = Request(CallId(call_id), "r", DialectName.CHAT, "POST", "/", (), b"", 0.0, 0.0, chain=chain, **fields)
        placement = Placement(replica, "kv_aware", "lowest_cost", tokens, False, Hit(), Terms())
        return self.fleet.book(request, placement, self.clock())

    def load(self, replica=R0):
        member = self.fleet.members[replica]
        return member.num_running, member.running_tokens, self.fleet.pending_prefill_tokens(member, self.clock())

    def expects(self, chain, replica=R0):
        return self.index.residency(chain, [R0, R1], self.clock()).hits[replica].tokens


class Crew(list):
    """Workers that hear one another through sockets; `now` is everybody's clock."""

    now = 100.0

    def settle(self):
        """Let everybody tell and hear until nothing is left to say."""
        while True:
            for worker in self:
                worker.tell()
            before = self.num_received
            for worker in self:
                worker.bus.listen()
            if self.num_received == before and not any(worker.due for worker in self):
                return

    async def while_settling(self, *awaitables):
        """Await all of them while everybody tells and hears; gives the seconds that it took."""
        waiting = asyncio.gather(*awaitables)
        while not waiting.done():
            self.settle()
            await asyncio.sleep(0.01)
        await waiting
        return asyncio.get_running_loop().time()

    @property
    def num_received(self):
        return sum(worker.bus.num_received for worker in self)


def chain(length, name=b"p"):
    digests = tuple(Digest(name + number.to_bytes(15, "big")) for number in range(length))
    return PromptChain(digests, tuple(400 * (number + 1) for number in range(length)))


def continuing(response_id):
    return Request(CallId("c"), "r", DialectName.RESPONSES, "POST", "/", (), b"", 0.0, 0.0, continues=(response_id,))


class SlowReader:
    """A sender whose reader has room for so many datagrams."""

    def __init__(self, sender, room):
        self.sender = sender
        self.room = room

    def send(self, data):
        if not self.room:
            raise BlockingIOError
        self.room -= 1
        return self.sender.send(data)
