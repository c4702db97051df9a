"""The values of programs: what is remembered of a call, what is told of a program; times are seconds on one clock."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.events import ToolEvent, ToolHow
from turnwise.proxy.programs.shape import Shape
from turnwise.turns import ToolCall
from turnwise.types import CallId, DialectName, ProgramId, ReplicaId


class LinkKind(StrEnum):
    """How a call depends on one before it."""

    CONTINUE = "continue"
    """Its prompt extends the other's."""
    REWRITE = "rewrite"
    """It repeats the other's turns under another head."""
    SPAWN = "spawn"
    """The other's tool call began its conversation."""
    JOIN = "join"
    """It brings the result of the conversation that the other ended."""
    RETRY = "retry"
    """It asks what the other asked, after that failed or was given up."""


class Basis(StrEnum):
    """What told which program a call belongs to, in the order of belief."""

    NAMED = "named"
    """The header `x-turnwise-program`."""
    BAGGAGE = "baggage"
    ROOT_TURN = "root_turn"
    """Codex's `root_turn_id`."""
    LINEAGE = "lineage"
    TRACE = "trace"
    """A sampled `traceparent`."""
    SESSION = "session"
    NEW = "new"
    """Nothing did: it is the first of a program, or it cannot be known."""


class Outcome(StrEnum):
    """How a program ended."""

    OPEN = "open"
    """It has not."""
    ASKED = "asked"
    """`POST /programs/{id}/end`."""
    ANSWERED = "answered"
    """A final answer, then a quiet period; or the session's next goal."""
    AGE = "age"
    EVICTED = "evicted"
    """To make room for others."""
    SHUTDOWN = "shutdown"


class Told(StrEnum):
    """What became of a tool run that was told; unknown where no call waits for its result, ambiguous where several do."""

    TAKEN = "taken"
    UNKNOWN = "unknown"
    AMBIGUOUS = "ambiguous"


class Link(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call that had to come first."""

    kind: LinkKind
    call_id: CallId
    program: ProgramId | None = None
    """Its program, where that is another one, and that program's trace."""
    trace_id: bytes | None = None


class ToolRun(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One run of a tool: from the answer that called it to the call that brings its result.

    Inferred from that gap unless a gateway told of it (`is_inferred`); then it also knows when the tool was queued.
    """

    id: str
    name: str
    caller: CallId
    started_at: float
    ended_at: float
    queued_at: float | None = None
    is_inferred: bool = True
    is_conversation: bool = False
    """Whether the tool was an agent whose calls are known: its time is theirs."""
    is_ok: bool = True
    """False where a gateway told that it failed."""
    how: ToolHow = ToolHow.ASKED
    """How it came about, where a gateway told."""
    claimed_at: float | None = None
    """When the agent asked for it, where a gateway told."""
    predicted_s: float | None = None
    """How long the gateway expected it to run."""
    saved_s: float = 0.0
    """Of its run, what passed while the model that called it still wrote."""
    num_bytes: int = 0
    """Size of its arguments."""
    is_expired: bool = False
    """Of a run whose result was given to nobody: no agent asked for it."""

    @property
    def has_joined(self) -> bool:
        """Whether the agent asked for it when it had begun already: while it ran, or while its result was held."""
        claimed_at = None if self.how is ToolHow.REMEMBERED else self.claimed_at
        return claimed_at is not None and self.started_at < claimed_at

    @property
    def held_s(self) -> float:
        """How long its result was there before the agent asked for it."""
        return max(0.0, (self.claimed_at or 0.0) - self.ended_at) if self.has_joined else 0.0

    @property
    def waste(self) -> str:
        """How it is shown where its result was given to nobody."""
        return EXPIRED if self.is_expired else VOID


VOID, EXPIRED = "void", "expired"  # a run whose result nobody was given: its answer did not end cleanly, no agent asked for it


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A tool call whose result has not come."""

    tool_call_id: str
    tool: str
    agent: int
    num_bytes: int
    since: float
    """When its answer had ended, or it was first told of."""
    told: ToolEvent | None = None
    """What a gateway told of it last."""


class Times(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The clock of one call, t0 to t9; None where a moment never came. `admitted` is t2 and `placed` t3."""

    arrived: float
    read: float
    admitted: float
    placed: float
    sent: float | None = None
    head: float | None = None
    first_token: float | None = None
    first_visible: float | None = None
    last_byte: float | None = None
    ended: float = 0.0
    first_tool: float | None = None
    """First piece of a tool call's arguments."""


class EngineTimes(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the engine's own span said of a call, in seconds."""

    queued_s: float
    prefill_s: float
    decode_s: float


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An attempt that failed before another replica was tried."""

    number: int
    replica: ReplicaId
    reason: str
    sent: float | None
    ended: float
    placed: float | None = None
    """When its replica was chosen."""


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that is remembered of one finished call."""

    call_id: CallId
    request_id: str
    agent: int
    """Which conversation of the program: 0 is the first, the others are its sub-agents and side calls."""
    turn: int
    """Which call of that conversation, from 0."""
    basis: Basis
    links: tuple[Link, ...]
    times: Times
    dialect: DialectName
    model: str | None
    replica: ReplicaId | None
    """None where no replica was tried."""
    status: int | None
    reason: str
    """Why it failed, as one of `Reason`; empty where it did not."""
    is_stream: bool
    attempt: int
    attempts: tuple[Attempt, ...]
    """Those that failed before."""
    finish_reason: str | None
    response_id: str | None
    prompt_tokens: int
    """As the engine counted them, else as placement believed."""
    cached_tokens: int | None
    predicted_tokens: int
    completion_tokens: int | None
    max_tokens: int | None
    tools: tuple[ToolCall, ...]
    """Tool calls that its answer holds."""
    runs: tuple[ToolRun, ...]
    """Tool runs whose results it brought."""
    is_final: bool
    """Whether it answered with no tool call that would go on: the last such call of a program is the program's answer."""
    client_trace: bytes | None = None
    """The 24 bytes of the client's own span (trace id, span id), where that is of another trace than the program's."""
    agent_name: str = ""
    engine: EngineTimes | None = None
    cost_s: float | None = None
    """Predicted seconds for which its replica was chosen; None where the policy does not count."""
    shape: Shape | None = None
    """What its graph is made of; None where a sibling worker served it."""


class Running(msgspec.Struct, frozen=True, gc=False):
    """A call that has not ended."""

    call_id: CallId
    agent: int
    agent_name: str
    turn: int
    arrived_at: float


class Key(msgspec.Struct, frozen=True, gc=False):
    """What a program is known by; made once."""

    id: ProgramId
    name: str
    """As a client named it; empty where none did."""
    tenant: str
    session: str
    epoch: int
    trace_id: bytes
    root_span: bytes
    parent_span: bytes | None
    """The client's span under which the root stands, where its trace is joined."""
    is_sampled: bool
    started_at: float
    basis: Basis
    follows: ProgramId | None = None
    """The program of the same session before it, and that program's trace."""
    follows_trace: bytes | None = None


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A program that has ended, for those who export it."""

    key: Key
    outcome: Outcome
    calls: tuple[Call, ...]
    ended_at: float
    """When its last call ended."""
    voided: tuple[ToolRun, ...] = ()
    """Runs of tools whose results were given to nobody."""


class Summary(msgspec.Struct, frozen=True, gc=False):
    """One row of the list of programs."""

    id: ProgramId
    name: str
    tenant: str
    session: str
    basis: Basis
    outcome: Outcome
    model: str
    age_s: float
    """Since its first call."""
    quiet_s: float
    """Since anything last happened to it."""
    running: int
    """Calls in flight."""
    waiting: int
    """Tool calls whose results have not come."""
    calls: int
    tools: int
    agents: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    trace_id: str
    reported_prompt_tokens: int = 0
    """Of the prompt tokens, those of calls whose engine said how many were cached."""
    started_at: float = 0.0
    """When it began, in Unix seconds where the time of day was told, else on the clock of calls."""
    remaining_s: float | None = None
    """How long the tools that it waits for are expected to take yet; None where it waits for none, or nothing is known."""
