"""One tenant's programs by the names that it gives them; no name means anything to another tenant."""

from __future__ import annotations

from collections import OrderedDict

from turnwise.proxy.programs.lineage import Lineage
from turnwise.proxy.programs.program import MAX_SESSIONS, Program
from turnwise.types import ProgramId


class Tenant:
    """What one tenant is known by, and all that is known within it."""

    __slots__ = ("_by_name", "_by_session", "_by_trace", "ended", "id", "lineage", "live")

    def __init__(self, tenant: str) -> None:
        self.id = tenant
        self.lineage = Lineage()
        self.live: OrderedDict[ProgramId, Program] = OrderedDict()
        """The least recently used first: whoever begins a call moves its program to the end."""
        self.ended: OrderedDict[ProgramId, Program] = OrderedDict()
        """Programs that have ended and are still known, the oldest first."""
        self._by_name: dict[str, Program] = {}
        self._by_session: dict[str, Program] = {}
        self._by_trace: dict[bytes, Program] = {}

    def named(self, name: str) -> Program | None:
        """The newest program of this name."""
        return self._by_name.get(name)

    def of_session(self, session: str) -> Program | None:
        """The newest program of this session."""
        return self._by_session.get(session)

    def of_trace(self, trace_id: bytes) -> Program | None:
        """The newest program that was born in this trace of the client's."""
        return self._by_trace.get(trace_id)

    def add(self, program: Program) -> None:
        """Know a new program."""
        key = program.key
        self.live[key.id] = program
        if key.name:
            self._by_name[key.name] = program
        if key.session:
            self._by_session[key.session] = program
        if program.trace_id is not None:
            self._by_trace[program.trace_id] = program

    def joined(self, program: Program, session: str) -> None:
        """A call of this session belongs to a program: so may those of the session of which nothing else is known."""
        if self._by_session.get(session) is program:
            return
        if session != program.key.session and session not in program.sessions:
            if len(program.sessions) == MAX_SESSIONS:
                return
            program.sessions = (*program.sessions, session)
        self._by_session[session] = program

    def forget(self, program: Program) -> None:
        """Know a program no longer, nor what can be told by it."""
        key = program.key
        self.ended.pop(key.id, None)
        if self._by_name.get(key.name) is program:
            del self._by_name[key.name]
        for session in (key.session, *program.sessions):
            if self._by_session.get(session) is program:
                del self._by_session[session]
        if program.trace_id is not None and self._by_trace.get(program.trace_id) is program:
            del self._by_trace[program.trace_id]
        program.forget_all()
