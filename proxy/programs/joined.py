"""Clients' traces that programs stand in: each is one tenant's, that of the first which brought it."""

from __future__ import annotations

from turnwise.proxy.programs.program import Program


class Joined:
    """Whose each trace is, for as long as one of that tenant's programs in it is known."""

    __slots__ = ("_traces",)

    def __init__(self) -> None:
        self._traces: dict[bytes, tuple[str, int]] = {}
        """The tenant of each trace, and in how many of its programs it is."""

    def __len__(self) -> int:
        return len(self._traces)

    def is_open_to(self, tenant: str, trace_id: bytes) -> bool:
        """Whether this trace is no other tenant's."""
        known = self._traces.get(trace_id)
        return known is None or known[0] == tenant

    def add(self, program: Program) -> None:
        """A program is known that stands in its client's trace."""
        key = program.key
        if self.is_open_to(key.tenant, key.trace_id):
            _, count = self._traces.get(key.trace_id, (key.tenant, 0))
            self._traces[key.trace_id] = (key.tenant, count + 1)

    def remove(self, program: Program) -> None:
        """It is known no longer, nor in this trace; a sibling may have joined another tenant's to it meanwhile."""
        key = program.key
        tenant, count = self._traces.get(key.trace_id, ("", 0))
        if tenant != key.tenant:
            return
        if count > 1:
            self._traces[key.trace_id] = (tenant, count - 1)
        else:
            del self._traces[key.trace_id]
