"""The face: which program each call belongs to, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from turnwise.dialects import DIALECTS, Dialect
from turnwise.events import ToolEvent, ToolStep
from turnwise.proxy.programs import calls, elsewhere
from turnwise.proxy.programs.backlog import Backlog
from turnwise.proxy.programs.belonging import Belonging, head
from turnwise.proxy.programs.dependence import NOTHING, depends
from turnwise.proxy.programs.elsewhere import Elsewhere
from turnwise.proxy.programs.fitting import said_of
from turnwise.proxy.programs.graph import HINT_HEADERS, Graph, HintReader, Retired
from turnwise.proxy.programs.identity import NO_CLAIMS, Identity
from turnwise.proxy.programs.lines import ANSWERED, FAILED, FINAL, RETRY, SPAWN, Line, Node
from turnwise.proxy.programs.pauses import Left, Pauses
from turnwise.proxy.programs.population import Population
from turnwise.proxy.programs.program import Program
from turnwise.proxy.programs.recording import Recording
from turnwise.proxy.programs.stats import Stats
from turnwise.proxy.programs.turn import Turn
from turnwise.proxy.programs.values import (
    Attempt,
    Basis,
    Call,
    Ended,
    EngineTimes,
    Key,
    Running,
    Summary,
    Told,
    ToolRun,
    Waiting,
)
from turnwise.proxy.programs.values import Outcome as ProgramOutcome
from turnwise.settings import ProgramSettings, TraceSettings
from turnwise.turns import MAX_ID_CHARS, NO_HINTS
from turnwise.types import CallId, DialectName, Outcome, ProgramId, Request

MAX_TOOLS = 128
"""Tool calls of one answer that are followed, and results of one prompt."""


class Programs:
    """All live programs and the newest ended ones, bounded; pure."""

    def __init__(
        self,
        settings: ProgramSettings,
        traces: TraceSettings,
        dialects: Mapping[DialectName, Dialect] = DIALECTS,
        tell: Callable[[elsewhere.News], None] | None = None,
        pauses: Pauses | None = None,
        soon: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._dialects = dialects
        self._final_tools = frozenset(settings.final_answer_tools)
        self._identity = Identity(settings)
        self._population = Population(settings)
        self._backlog = Backlog()
        self._recording = Recording(self._population, self._backlog, pauses, tell, soon)
        self._tell = None if tell is None else self._recording.tell
        self._belonging = Belonging(settings, traces, self._population, self._recording.work, self._tell)
        self.pauses = pauses
        """What is learned of how long tools run; None where nothing is."""
        self.elsewhere = Elsewhere(self._population, self._close, settings.max_age_s, None if pauses is None else pauses.learn)
        """What siblings serve; `tell` tells them what this worker serves, None where there are none."""
        self._calls = dict.fromkeys(Basis, 0)
        self._hints = HintReader()
        self._telling = self._identity.headers | self._identity.tenant_headers | HINT_HEADERS
        """Headers that say anything of a call."""

    def begin(self, request: Request, fields: Mapping[bytes, bytes], now: float) -> Turn | None:
        """Say which program, session, agent and turn a call is; None for a request that is no call (it has no prompt)."""
        chain, prompt = request.chain, request.prompt
        if chain is None or prompt is None or not chain.digests:
            return None
        hints, hinted, answer = request.hints, None, chain.answer
        if hints is NO_HINTS and self._telling.isdisjoint(fields):
            claims = NO_CLAIMS
        else:
            claims = self._identity.claims(fields, hints)
            hinted = self._hints.read(fields, hints, prompt)
        tenant = self._population.tenant(claims.tenant)
        lineage, dialect = tenant.lineage, self._dialects[request.dialect]
        tail = dialect.tail(prompt, 0 if answer is None else answer.last + 1)
        results, continues = tail.results and tail.results[:MAX_TOOLS], request.continues
        if continues:
            continues = tuple([state for state in continues if len(state) <= MAX_ID_CHARS])
        found = lineage.find(prompt, chain, results, continues, dialect, now, claims.is_retry)
        program, basis = self._belonging.program(tenant, claims, found, request, now, tail)
        session, arrived_at, call_id, digest = claims.session, request.arrived_at, request.call_id, chain.digests[-1]
        if session:
            tenant.joined(program, session)
        if found is None:
            line = self._belonging.line(program, None, claims.agent) if program.lines else program.new_line(claims.agent)
            links, runs = depends(program, None, results, arrived_at, self._close) if results else NOTHING
            is_opening = True
        else:
            kind, before = found.kind, found.node
            line = before.line
            if line.program is not program or kind is SPAWN or before.is_continued:
                line = self._belonging.line(program, found, claims.agent)
            links, runs = depends(program, found, results, arrived_at, self._close)
            before.followed(kind, found.tool, line)
            is_opening = kind is SPAWN or (kind is RETRY and before.is_opening)
        turns, turns_key = lineage.hashes(prompt, found, is_opening)
        node = Node(line, call_id, arrived_at, arrived_at, digest, is_opening, turns, turns_key)
        lineage.add(node, continues)
        if session and not line.num_turns:
            line.head = head(request)
        key, number = program.key, program.began(node, now)
        if number or line.agent:  # else it has just been opened, as the newest
            tenant.live.move_to_end(key.id)
        self._calls[basis] += 1
        if self._tell is not None:
            self._tell(elsewhere.began(program, node, found, results, continues, session))
        trace = None if claims.span is None else self._belonging.client_trace(program, claims.span)
        agent, name = line.agent, line.name
        turn = Turn(program, node, key, request, prompt, chain, call_id, agent, name, number, basis, links, runs, trace, hinted)
        if not program.sketch.begun(turn):
            self._recording.work()  # the call before may have ended
            if not program.sketch.begun(turn):
                self._backlog.add(program, turn.begun())
        return turn

    def retried(self, turn: Turn, outcome: Outcome) -> None:
        """An attempt failed, and another replica is tried."""
        replica, sent_at, ended_at = outcome.placement.replica, outcome.sent_at, outcome.ended_at
        failed = Attempt(outcome.attempt, replica, outcome.reason, sent_at, ended_at, outcome.booked_at)
        turn.attempts = (*turn.attempts, failed)

    def settle(self, turn: Turn, outcome: Outcome, now: float) -> Call:  # noqa: ARG002 - its times are in the outcome
        """End a call; returns its record."""
        self.ended(turn, outcome)
        return self.take_calls()[-1][1]

    def ended(self, turn: Turn, outcome: Outcome) -> int:
        """End a call, whose record `take_calls` makes with those of others; returns how many wait for that."""
        node, request = turn.node, turn.request
        called, finals = outcome.tool_calls, self._final_tools
        node.said = said_of(outcome.answer)
        if not outcome.is_complete or outcome.status != 200:
            node.state = FAILED
        else:
            tools = tuple([tool for tool in called if tool.name not in finals]) if called and finals else called
            node.state = ANSWERED if tools or (not called and request.hints.has_stop) else FINAL
            stored_as = outcome.response_id or "" if request.is_stored else ""
            turn.program.ended_call(node, tools[:MAX_TOOLS], stored_as if len(stored_as) <= MAX_ID_CHARS else "")
        return self._recording.ended(turn, outcome, outcome.ended_at)

    def take_calls(self) -> list[tuple[Key, Call]]:
        """The records of calls that have ended since this was last asked, in their order."""
        return self._recording.take()

    def drop(self, turn: Turn, reason: str, now: float) -> Call:
        """End a call of which no attempt could be made; returns its record."""
        call = calls.dropped(turn, reason, now)
        turn.node.state = FAILED
        self._recording.ended(turn, call, now)
        return self.take_calls()[-1][1]

    def tool_event(self, event: ToolEvent, program: str = "") -> Told:
        """Take a tool run as it was measured, where one call waits for its result.

        `program` is the id or the name of a program, where it is known. What the tools gateway tells names the call that wrote
        the tool call, which may not have ended, and the program by its id.
        """
        if event.turn:
            return self._gateway_event(event, ProgramId(program))
        callers = self._population.callers(event.tool_call_id)
        if program:
            callers = [node for node in callers if program in (node.line.program.key.id, node.line.program.key.name)]
        if len(callers) != 1:
            return Told.AMBIGUOUS if callers else Told.UNKNOWN
        callers[0].told(event)
        return Told.TAKEN

    def _gateway_event(self, event: ToolEvent, program: ProgramId) -> Told:
        known = self._population.get(program)
        if known is None or not event.tool_call_id or not known.told(event):
            return Told.UNKNOWN
        # Progress is only looked at while it lasts, where it is told.
        if self._tell is not None and event.step is not ToolStep.PROGRESSED:
            self._tell(elsewhere.Ran(program, event))
        return Told.TAKEN

    def waits(self, program: ProgramId, now: float) -> tuple[tuple[Waiting, Left | None], ...]:
        """A program's tool calls whose results have not come, and how long each is expected to take yet."""
        known = self._population.get(program)
        if known is None:
            return ()
        pauses, tenant = self.pauses, known.key.tenant
        return tuple((waiting, None if pauses is None else pauses.left(tenant, waiting, now)) for waiting in known.waits())

    def void_runs(self, program: ProgramId) -> tuple[ToolRun, ...]:
        """Runs of tools of a program whose results were given to nobody."""
        known = self._population.get(program)
        return () if known is None else known.record.void_runs

    def engine_times(self, program: ProgramId, call: CallId, times: EngineTimes) -> bool:
        """Put down what the engine says of a finished call; False where that is not known any more."""
        self._recording.work()
        known = self._population.get(program)
        return known is not None and known.record.replace_engine_times(call, times)

    def end(self, program: ProgramId, now: float) -> bool:
        """End a program because somebody asked, to be told of by `sweep`; False where it is not live, or a sibling worker's."""
        known = self._population.get(program)
        if known is None or not known.is_live or known.owner is not None:
            return False
        self._population.end(known, ProgramOutcome.ASKED, now)
        if self._tell is not None:
            self._tell(elsewhere.Over(program, ProgramOutcome.ASKED))
        return True

    def sweep(self, now: float) -> list[Ended]:
        """End those whose time has come, tell of some that have ended and of which no call runs: `has_due` if not of all."""
        self._recording.work()
        self._backlog.work()
        if self.pauses is not None:
            self.pauses.work()
        self.elsewhere.expire(now)
        return [self._ended(program) for program in self._population.sweep(now)]

    def has_due(self, now: float) -> bool:
        """Whether there are programs that `sweep` has not come to."""
        return self._population.has_due(now)

    def take_retired(self) -> list[Retired]:
        """Prompts that nobody will go on from, since this was last asked; the newest."""
        return self._backlog.take_retired()

    def close(self, now: float) -> list[Ended]:
        """End all, as the proxy stops; tells of those too of which calls still run."""
        self._recording.work()
        return [self._ended(program) for program in self._population.close(now)]

    def listing(self, now: float, limit: int | None = None, unix_zero: float = 0.0) -> list[Summary]:
        """The live programs and the newest ended ones, the most recently used first: all, or `limit` of them.

        `unix_zero` is the Unix time at which the clock of `now` was 0.
        """
        self._recording.work()
        newest = self._population.newest(limit)
        return [program.record.summary(now, program.outcome, program.waiting, unix_zero) for program in newest]

    def summary(self, program: ProgramId, now: float) -> Summary | None:
        """A program's row of the list; None where it is not known."""
        self._recording.work()
        known = self._population.get(program)
        return None if known is None else known.summary(now)

    def calls(self, program: ProgramId) -> tuple[Key, tuple[Call, ...]] | None:
        """A program's finished calls in the order of their ends; None where it is not known."""
        self._recording.work()
        known = self._population.get(program)
        return None if known is None else (known.key, known.record.calls())

    def running(self, program: ProgramId) -> tuple[Running, ...]:
        """A program's calls that have not ended; none where it is not known."""
        known = self._population.get(program)
        return () if known is None else known.running()

    def graph(self, program: ProgramId) -> Graph | None:
        """What a program's prompts and answers consist of; None where it is not known."""
        self._recording.work()
        known = self._population.get(program)
        return None if known is None else self._backlog.graph(known)

    def find(self, name: str, tenant: str | None = None) -> tuple[Key, ...]:
        """The program of this id, else of this name, of one `tenant` or of any; empty where there is none.

        Of the name it is the live one, else the newest; where several tenants have live ones of it, all these.
        """
        return self._population.find(name, tenant)

    @property
    def stats(self) -> Stats:
        """Counts since the start."""
        population = self._population
        return Stats(
            population.num_live,
            dict(self._calls),
            dict(population.outcomes),
            dict(self._identity.ignored),
            dict(self._hints.malformed),
        )

    def _ended(self, program: Program) -> Ended:
        self._backlog.end(program)
        return program.ended()

    def _close(self, line: Line) -> None:
        """A conversation is over, which its graph is told of after all that came before."""
        self._recording.work()
        self._backlog.close(line)
