"""A call while it runs, as its program sees it."""

from __future__ import annotations

from turnwise.proxy.programs.lines import Node
from turnwise.proxy.programs.program import Program
from turnwise.proxy.programs.shape import Hinted
from turnwise.proxy.programs.values import Attempt, Basis, Key, Link, ToolRun
from turnwise.types import PromptChain, Request


class Turn:
    """What `Programs.begin` decided of one call; it is given back to `settle` or `drop`, once, whatever happens."""

    __slots__ = (
        "agent",
        "agent_name",
        "attempts",
        "basis",
        "call_id",
        "chain",
        "client_trace",
        "hinted",
        "is_settled",
        "key",
        "links",
        "node",
        "number",
        "program",
        "request",
        "runs",
    )

    def __init__(
        self,
        program: Program,
        node: Node,
        request: Request,
        chain: PromptChain,
        number: int,
        basis: Basis,
        links: tuple[Link, ...] = (),
        runs: tuple[ToolRun, ...] = (),
        client_trace: bytes | None = None,
        hinted: Hinted | None = None,
    ) -> None:
        self.program = program
        self.node = node
        """It, as calls after it may be told to follow it."""
        self.key: Key = program.key
        self.request = request
        self.chain = chain
        """Of its prompt."""
        self.call_id = request.call_id
        self.agent = node.line.agent
        self.agent_name = node.line.name
        self.number = number
        """Which call of its agent, from 0."""
        self.basis = basis
        self.links = links
        self.runs = runs
        self.client_trace = client_trace
        self.hinted = hinted
        self.is_settled = False
        """Whether it has been given back."""
        self.attempts: tuple[Attempt, ...] = ()
