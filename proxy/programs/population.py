"""All programs of all tenants, within bounds: who goes to make room, and whose time has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from operator import attrgetter

from turnwise.proxy.programs.joined import Joined
from turnwise.proxy.programs.lines import Node
from turnwise.proxy.programs.program import NEVER, OPEN, Program
from turnwise.proxy.programs.shares import Shares
from turnwise.proxy.programs.tenant import Tenant
from turnwise.proxy.programs.values import Key, Outcome
from turnwise.settings import ProgramSettings
from turnwise.types import ProgramId

KEPT_ENDED = 512
"""Programs that have ended and are still known: they can be asked for, and what goes on from them is told."""

KEPT_ENDED_CALLS = 20_000
"""Calls of these."""

LOOKED_AT = 64
"""Least recently used programs of the largest tenant among which is chosen who goes to make room: 4 us where all are busy."""

AT_ONCE = 256
"""Programs looked at in one sweep."""

SETTLES_WITHIN_S = 3600.0
"""For how long the calls of a program that has ended are waited for, until it is told of without them."""

TOLD_CALLS_AT_ONCE = 8
"""Calls whose programs are told of in one sweep, one program at least: each takes 20 us, and others wait meanwhile."""

BEHIND_S = 0.1
UNTOLD = 64
"""Each time the oldest of these is so late, and for each so many that wait, a sweep takes as many more: so what ends cannot
outrun what is told of."""

_STARTED_AT = attrgetter("started_at")
_ACTIVE_AT = attrgetter("record.active_at")


class Population:
    """Live programs and the newest ended ones.

    Past a bound, those of the tenant that has most go: no tenant displaces another's by coming with more.
    """

    def __init__(self, settings: ProgramSettings) -> None:
        self._max_programs = settings.max_programs
        self._quiet_s, self._max_age_s = settings.quiet_s, settings.max_age_s
        self._soonest_s = min(self._quiet_s, self._max_age_s)
        self._tenants: dict[str, Tenant] = {}
        self._programs: dict[ProgramId, Program] = {}
        self._live: Shares[Tenant] = Shares()
        self._ended: Shares[Tenant] = Shares()
        self._num_ended_calls = 0
        self._untold: deque[Program] = deque()
        self._unsettled: dict[Program, float] = {}
        """Programs that have ended and of which calls still run, and until when these are waited for; the oldest first."""
        self._times: list[tuple[float, ProgramId]] = []
        self.joined = Joined()
        """Whose the clients' traces are that known programs stand in."""
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        """Programs that have ended, by how."""

    @property
    def num_live(self) -> int:
        """Live programs that no sibling worker owns."""
        return sum(program.is_live and program.owner is None for program in self.known())

    def tenant(self, name: str) -> Tenant:
        """The tenant of this name; it is known for as long as a program of it is."""
        return self._tenants.get(name) or Tenant(name)

    def get(self, program: ProgramId) -> Program | None:
        """A program, live or ended, that is still known."""
        return self._programs.get(program)

    def find(self, name: str, tenant: str | None) -> tuple[Key, ...]:
        """See `Programs.find`."""
        known = self.get(ProgramId(name))
        if known is not None and tenant in (None, known.key.tenant):
            return (known.key,)
        of_name = [program for each in self._tenants.values() if (program := each.named(name)) is not None]
        named = [program for program in of_name if tenant in (None, program.key.tenant)]
        live = tuple(program.key for program in named if program.is_live)
        return live or tuple(sorted((program.key for program in named), key=_STARTED_AT)[-1:])

    def callers(self, tool_call_id: str) -> list[Node]:
        """The calls of all tenants that wait for the result of a tool call of this id."""
        return [node for tenant in self._tenants.values() for node in tenant.lineage.callers(tool_call_id)]

    def known(self) -> Iterator[Program]:
        """All programs that are still known."""
        return iter(self._programs.values())

    def newest(self, limit: int | None) -> list[Program]:
        """The programs that are still known, the most recently used first: all, or `limit` of them."""
        return sorted(self._programs.values(), key=_ACTIVE_AT, reverse=True)[:limit]

    def add(self, tenant: Tenant, program: Program, now: float) -> None:
        """A program begins, with a call: its time cannot come before that ends. Another one ends where there is no room."""
        if self._live.total >= self._max_programs:
            self.end(_least_missed(self._live.largest), Outcome.EVICTED, now)
        key = program.key
        self._tenants[tenant.id] = tenant
        tenant.add(program)
        self._programs[key.id] = program
        if key.parent_span is not None:
            self.joined.add(program)
        self._live.add(tenant)

    def settled(self, program: Program) -> None:
        """A call of it has ended."""
        if program.outcome is OPEN:
            if program.looked_at_in > program.record.active_at + self._soonest_s:  # it may be due before
                due = program.due(self._quiet_s, self._max_age_s)
                if due < program.looked_at_in:
                    self._look(program, due)
        elif not program.record.running and self._unsettled.pop(program, None) is not None:
            self._untold.append(program)

    def end(self, program: Program, outcome: Outcome, now: float) -> None:
        """End a live program; it is told of with the next sweep after the last of its calls that run."""
        self._retire(program, outcome)
        if program.owner is not None:
            return
        if program.record.running:
            self._unsettled[program] = now + SETTLES_WITHIN_S
        else:
            self._untold.append(program)

    def has_due(self, now: float) -> bool:
        """Whether `sweep` would find something to do now."""
        return bool(self._untold or (self._times and self._times[0][0] <= now))

    def sweep(self, now: float) -> list[Program]:
        """Those that are to be told of, a few at a time; ends those whose time has come."""
        while self._unsettled and next(iter(self._unsettled.values())) <= now:
            program = next(iter(self._unsettled))
            del self._unsettled[program]
            self._untold.append(program)
        late_s = now - self._times[0][0] if self._times else 0.0
        num_calls = TOLD_CALLS_AT_ONCE * (1 + max(0, int(late_s / BEHIND_S)) + len(self._untold) // UNTOLD)
        told: list[Program] = []
        for _ in range(AT_ONCE):
            if self._untold:
                program = self._untold.popleft()
                told.append(program)
                num_calls -= max(1, program.num_ended_calls)
                if num_calls <= 0:
                    break
            elif self._times and self._times[0][0] <= now:
                self._look_at(*heappop(self._times), now)
            else:
                break
        return told

    def close(self, now: float) -> list[Program]:
        """End all that live; gives all that were not told of, whether or not calls of them run."""
        for program in list(self._programs.values()):
            if program.is_live:
                self.end(program, Outcome.SHUTDOWN, now)
        untold = [*self._untold, *self._unsettled]
        self._untold.clear()
        self._unsettled.clear()
        return untold

    def _retire(self, program: Program, outcome: Outcome) -> None:
        tenant = self._tenants[program.key.tenant]
        program.outcome = outcome
        program.num_ended_calls = program.record.num_calls
        if program.owner is None:
            self.outcomes[outcome] += 1
        del tenant.live[program.key.id]
        self._live.remove(tenant)
        tenant.ended[program.key.id] = program
        self._ended.add(tenant)
        self._num_ended_calls += program.num_ended_calls
        while self._ended.total > KEPT_ENDED or (self._num_ended_calls > KEPT_ENDED_CALLS and self._ended.total > 1):
            self._forget_oldest(self._ended.largest)

    def _forget_oldest(self, tenant: Tenant) -> None:
        program = next(iter(tenant.ended.values()))
        tenant.forget(program)
        self._ended.remove(tenant)
        self._num_ended_calls -= program.num_ended_calls
        del self._programs[program.key.id]
        if program.key.parent_span is not None:
            self.joined.remove(program)
        if not tenant.live and not tenant.ended:
            del self._tenants[tenant.id]

    def _look_at(self, time: float, name: ProgramId, now: float) -> None:
        """End a program that was to be looked at now, if its time has come."""
        program = self.get(name)
        if program is None or not program.is_live or program.looked_at_in != time:
            return
        due = program.due(self._quiet_s, self._max_age_s)
        program.looked_at_in = NEVER
        if due <= now:
            self.end(program, Outcome.ANSWERED if program.is_answered and not program.waiting else Outcome.AGE, now)
        elif due < NEVER:
            self._look(program, due)

    def _look(self, program: Program, due: float) -> None:
        """Look at a program when it is due; what was meant to be looked at before is passed over then."""
        program.looked_at_in = due
        heappush(self._times, (due, program.key.id))
        if len(self._times) > 1024 + 2 * self._live.total:
            self._times = [
                (known.looked_at_in, known.key.id) for known in self.known() if known.is_live and known.looked_at_in < NEVER
            ]
            heapify(self._times)


def _least_missed(tenant: Tenant) -> Program:
    """The least recently used program that has its answer, else that of which no call runs, else of all."""
    idle: Program | None = None
    for program in islice(tenant.live.values(), LOOKED_AT):
        if program.record.running:
            continue
        if program.is_answered and not program.waiting:
            return program
        idle = idle or program
    return idle or next(iter(tenant.live.values()))
