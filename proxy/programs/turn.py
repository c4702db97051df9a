"""A call while it runs, as its program sees it."""

from __future__ import annotations

import msgspec

from turnwise.proxy.programs.graph import Begun
from turnwise.proxy.programs.lines import RUNNING, Node
from turnwise.proxy.programs.program import Program
from turnwise.proxy.programs.shape import Hinted
from turnwise.proxy.programs.values import Attempt, Basis, Key, Link, ToolRun
from turnwise.types import CallId, Prompt, PromptChain, Request


class Turn(msgspec.Struct, eq=False, gc=False):
    """What `Programs.begin` decided of one call; it is given back to `settle` or `drop`, once, whatever happens.

    Its program knows it until then, which is a cycle that Python's collector need not look for.
    """

    program: Program
    node: Node
    """It, as calls after it may be told to follow it."""
    key: Key
    request: Request
    prompt: Prompt
    chain: PromptChain
    """Of its prompt."""
    call_id: CallId
    agent: int
    agent_name: str
    number: int
    """Which call of its agent, from 0."""
    basis: Basis
    links: tuple[Link, ...] = ()
    runs: tuple[ToolRun, ...] = ()
    client_trace: bytes | None = None
    hinted: Hinted | None = None
    attempts: tuple[Attempt, ...] = ()
    """Those that failed."""

    @property
    def is_settled(self) -> bool:
        """Whether it has been given back."""
        return self.node.state is not RUNNING

    def begun(self) -> Begun:
        """It, as a graph takes it in."""
        request = self.request
        kinds, goes_on = self.prompt.kinds, bool(request.continues)
        return Begun(self.agent, self.number, request.model, self.chain, kinds, self.hinted, goes_on)
