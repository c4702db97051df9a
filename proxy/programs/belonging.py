"""Which program a call belongs to, in the order of belief (decision 8), and what it depends on within it."""

from __future__ import annotations

from collections.abc import Callable

from turnwise.proxy.programs import spans
from turnwise.proxy.programs.dependence import FOLLOWS
from turnwise.proxy.programs.elsewhere import Over
from turnwise.proxy.programs.identity import NO_CLAIMS, Claims
from turnwise.proxy.programs.lineage import HEAD, Found
from turnwise.proxy.programs.lines import FINAL, SPAWN, Line
from turnwise.proxy.programs.population import Population
from turnwise.proxy.programs.program import OPEN, Program
from turnwise.proxy.programs.record import Record
from turnwise.proxy.programs.sampling import is_sampled
from turnwise.proxy.programs.tenant import Tenant
from turnwise.proxy.programs.traceparent import ClientSpan
from turnwise.proxy.programs.values import Basis, Key, Outcome
from turnwise.settings import ProgramSettings, TraceSettings
from turnwise.turns import Tail
from turnwise.types import Digest, ProgramId, Request

_OURS = "\0"
"""Begins the names that no client gives: they hold no control characters."""

LINEAGE, TRACE, SESSION, NEW = Basis.LINEAGE, Basis.TRACE, Basis.SESSION, Basis.NEW


class Belonging:
    """Decides of calls; opens programs where none is meant."""

    def __init__(
        self,
        settings: ProgramSettings,
        traces: TraceSettings,
        population: Population,
        catch_up: Callable[[], None],
        tell: Callable[[Over], None] | None = None,
    ) -> None:
        self._catch_up = catch_up
        """Puts down calls that have ended, so that it is known which run."""
        self._tell = tell
        self._population = population
        self._max_calls = settings.max_calls
        self._joins_client = traces.join_client
        self._sample_ratio = traces.sample_ratio
        self._samples_all = traces.sample_ratio >= 1

    def program(
        self, tenant: Tenant, claims: Claims, found: Found | None, request: Request, now: float, tail: Tail
    ) -> tuple[Program, Basis]:
        """The program of a call, and what told it."""
        if found is None:
            if not (claims.name or claims.session or claims.parent_session or claims.span):  # most that begin
                return self._open_own(tenant, request, now), NEW
        elif not tail.is_user_last and not claims.name:  # most calls
            goes_on = found.node.line.program
            record = goes_on.record
            if goes_on.outcome is OPEN and record.num_calls + record.running < self._max_calls:
                return goes_on, LINEAGE
        is_user_last = tail.is_user_last
        trace_id = claims.span.trace_id if claims.span is not None and claims.span.is_sampled else None
        if claims.name:
            return self._named(tenant, claims, found, request, now), claims.basis
        if found is not None:
            known: Program | None = found.node.line.program
            basis = LINEAGE
        elif trace_id is not None:
            # A trace that was not seen before says nothing of other calls, but that none of these has its goal.
            known, basis = tenant.of_trace(trace_id), TRACE
        else:
            known = None
            if claims.session or claims.parent_session:
                known = tenant.of_session(claims.session) or tenant.of_session(claims.parent_session)
            basis = NEW if known is None else SESSION
        if known is None:
            return self._open(tenant, claims, "", basis, None, request, now), basis
        while known.successor is not None:  # the program that goes on in its place, where it has ended
            known = known.successor
        if is_user_last or claims.is_session_shared:
            self._catch_up()
        is_live = known.outcome is OPEN
        if basis is SESSION and claims.is_session_shared and known.has_begun_as(head(request)):
            # Another conversation of an app, which may give one cache key to all of them: its goal is one of its own.
            before = known if is_live and known.is_quiescent else None
            return self._open(tenant, claims, "", basis, before, request, now), basis
        is_same_trace = trace_id is not None and trace_id == known.trace_id
        is_next_goal = (
            is_user_last
            and not is_same_trace
            and (not is_live or known.is_quiescent)
            and (known.has_answered(head(request)) if found is None else found.kind in FOLLOWS and found.node.state is FINAL)
        )
        if is_live and not is_next_goal and self._has_room(known):
            return known, basis
        if is_live:
            self._end(known, Outcome.ANSWERED if is_next_goal else Outcome.EVICTED, now)
        return self._open(tenant, claims, "" if is_next_goal else known.key.name, basis, known, request, now), basis

    def line(self, program: Program, found: Found | None, agent: str) -> Line:
        """The conversation of a call within its program."""
        if found is not None and found.kind is not SPAWN and found.node.line.program is program:
            if not found.node.is_continued:
                return found.node.line
            return program.new_line(agent or found.node.line.name)
        return program.line(agent)

    def client_trace(self, program: Program, span: ClientSpan) -> bytes | None:
        """The client's own span, where it is to be linked: it is sampled, and of another trace than the program's."""
        if not span.is_sampled or span.trace_id == program.key.trace_id:
            return None
        return span.trace_id + span.span_id

    def _named(self, tenant: Tenant, claims: Claims, found: Found | None, request: Request, now: float) -> Program:
        known = tenant.named(claims.name)
        if known is None:
            before = tenant.of_session(claims.session)
            if before is None and found is not None and found.kind in FOLLOWS:
                before = found.node.line.program
            return self._open(tenant, claims, claims.name, claims.basis, before, request, now)
        if known.is_live:
            if self._has_room(known):
                return known
            self._end(known, Outcome.EVICTED, now)
        return self._open(tenant, claims, claims.name, claims.basis, known, request, now)

    def _end(self, program: Program, outcome: Outcome, now: float) -> None:
        self._population.end(program, outcome, now)
        if self._tell is not None:
            self._tell(Over(program.key.id, outcome))

    def _has_room(self, program: Program) -> bool:
        return program.record.num_calls + program.record.running < self._max_calls

    def _open_own(self, tenant: Tenant, request: Request, now: float) -> Program:
        """Begin a program of which nothing is said."""
        root_span, trace_id = spans.own_ids(request.call_id, 0)
        name, lineage = ProgramId(root_span.hex()), tenant.lineage
        if self._population.get(name) is not None:  # as good as never
            return self._open(tenant, NO_CLAIMS, "", NEW, None, request, now)
        traced = self._samples_all or is_sampled(trace_id, self._sample_ratio)
        key = Key(name, "", tenant.id, "", 0, trace_id, root_span, None, traced, now, NEW, None, None)
        program = Program(key, Record(key, now), lineage, None)
        self._population.add(tenant, program, now)
        return program

    def _open(
        self,
        tenant: Tenant,
        claims: Claims,
        name: str,
        basis: Basis,
        follows: Program | None,
        request: Request,
        now: float,
    ) -> Program:
        """Begin a program; by its name or the client's trace its ids are those that any proxy would make."""
        span = claims.span
        trace_id = span.trace_id if span is not None and span.is_sampled else None
        seed = name or ("" if trace_id is None or basis is not TRACE else _OURS + trace_id.hex())
        epoch = 0
        if follows is not None and (follows.key.name == name or not name):
            epoch = follows.key.epoch + 1
        while True:
            ids = spans.program_ids(tenant.id, seed, epoch) if seed else spans.own_ids(request.call_id, epoch)
            root_span, own_trace = ids
            program_id = ProgramId(root_span.hex())
            if self._population.get(program_id) is None:
                break
            epoch += 1
        parent_span: bytes | None = None
        may_join = self._joins_client and trace_id is not None and self._population.joined.is_open_to(tenant.id, trace_id)
        if span is not None and trace_id is not None and may_join:
            own_trace, parent_span = trace_id, span.span_id
        key = Key(
            program_id,
            name,
            tenant.id,
            claims.session or ("" if follows is None else follows.key.session),
            epoch,
            own_trace,
            root_span,
            parent_span,
            is_sampled(own_trace, self._sample_ratio, None if span is None else span.is_sampled),
            now,
            basis,
            None if follows is None else follows.key.id,
            None if follows is None else follows.key.trace_id,
        )
        program = Program(key, Record(key, now), tenant.lineage, trace_id)
        if follows is not None and not follows.is_live:
            follows.successor = program
        self._population.add(tenant, program, now)
        return program


def head(request: Request) -> Digest | None:
    """What a prompt begins with before anybody says anything: other prompts of the same app have the same; None for nothing."""
    prompt, chain = request.prompt, request.chain
    if prompt is None or chain is None:
        return None
    end = next((at for at, kind in enumerate(prompt.kinds) if kind not in HEAD), len(prompt.kinds))
    return chain.digests[end - 1] if end else None
