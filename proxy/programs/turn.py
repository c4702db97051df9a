"""A call while it runs, as its program sees it."""

from __future__ import annotations

from turnwise.proxy.programs.values import Attempt, Basis, Key, Link, ToolRun
from turnwise.types import Request


class Turn:
    """What `Programs.begin` decided of one call; it is given back to `settle` or `drop`, once, whatever happens."""

    __slots__ = (
        "agent",
        "agent_name",
        "attempts",
        "basis",
        "call_id",
        "client_trace",
        "key",
        "links",
        "number",
        "request",
        "runs",
    )

    def __init__(
        self,
        key: Key,
        request: Request,
        agent: int,
        number: int,
        basis: Basis,
        links: tuple[Link, ...] = (),
        runs: tuple[ToolRun, ...] = (),
        client_trace: bytes | None = None,
        agent_name: str = "",
    ) -> None:
        self.key = key
        """The program."""
        self.request = request
        self.call_id = request.call_id
        self.agent = agent
        self.number = number
        """Which call of its agent, from 0."""
        self.basis = basis
        self.links = links
        self.runs = runs
        self.client_trace = client_trace
        self.agent_name = agent_name
        self.attempts: tuple[Attempt, ...] = ()
