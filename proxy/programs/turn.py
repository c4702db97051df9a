"""A call while it runs, as its program sees it."""

from __future__ import annotations

import msgspec

from turnwise.proxy.programs.lines import Node
from turnwise.proxy.programs.program import Program
from turnwise.proxy.programs.shape import Hinted
from turnwise.proxy.programs.values import Attempt, Basis, Key, Link, ToolRun
from turnwise.types import CallId, PromptChain, Request


class Turn(msgspec.Struct, eq=False):
    """What `Programs.begin` decided of one call; it is given back to `settle` or `drop`, once, whatever happens."""

    program: Program
    node: Node
    """It, as calls after it may be told to follow it."""
    key: Key
    request: Request
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
    is_settled: bool = False
    """Whether it has been given back."""
    attempts: tuple[Attempt, ...] = ()
    """Those that failed."""
