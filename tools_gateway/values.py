"""The values that the rooms of the gateway give each other; all frozen, times in seconds on one monotonic clock."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NewType

import msgspec

from turnwise.tools_gateway.messages import How

UpstreamName = NewType("UpstreamName", str)
"""As the operator's file names an upstream: never what a server calls itself."""

PROGRESS = "notifications/progress"
"""How MCP calls what an upstream says of the progress of a request."""

MAX_NAME = 128
"""Characters of the longest name of a tool (MCP 2026-07-28)."""

JsonObject = dict[str, Any]
"""One JSON object, strictly parsed: no duplicate keys, no NaN, bounded size and depth."""

MAX_TOOLS = 512
"""Of one upstream, more than any model is offered; those after are left out."""


class ToolKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """A tool where it lives."""

    upstream: UpstreamName
    tool: str


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who asks; part of every key of a session, a cache entry, a breaker, a share, an announcement and a pin."""

    tenant: str
    """Name of the operator's file; empty where it names none."""
    scopes: frozenset[str] = frozenset()
    """Of the token; what they allow is the operator's word."""


class Credential(msgspec.Struct, frozen=True, gc=False):
    """What an upstream is shown on behalf of a principal. The secret itself stays with the upstreams."""

    upstream: UpstreamName
    id: str
    """Digest of tenant and secret, or of the upstream's name alone where the operator shares it among tenants (`shared`)."""
    tenant: str = ""
    """Whose it is; empty where tenants share it."""


class Marks(msgspec.Struct, frozen=True, gc=False):
    """What the operator says of a tool; what a server says of its own tools only suggests."""

    is_read_only: bool = False
    is_idempotent: bool = False
    is_open_world: bool = True
    is_early: bool = False
    """May run before the agent asks: only with `is_read_only`, `is_idempotent` and a `deadline_s` of its own."""
    is_shared: bool = False
    """Equal calls under way at once share one run."""
    ttl_s: float = 0.0
    """How long a result serves equal calls; 0 for not at all."""
    deadline_s: float = 60.0
    max_running: int = 16


class ToolState(StrEnum):
    """Whether a tool may be called."""

    READY = "ready"
    QUARANTINED = "quarantined"
    """Nobody has approved it yet."""
    DRIFTED = "drifted"
    """Its definition is not the one that was approved; that one is kept beside it."""
    GONE = "gone"
    """Its upstream no longer has it, or could never be asked."""


class Tool(msgspec.Struct, frozen=True):
    """A tool as the gateway offers it."""

    name: str
    """Public: `upstream__tool`, at most 64 characters of `[A-Za-z0-9_-]`."""
    key: ToolKey
    definition: JsonObject
    """As it is shown: cleaned, under its public name, keys as MCP has them."""
    pin: str
    """sha256 of the canonical definition as the upstream gave it."""
    marks: Marks
    state: ToolState
    why: str = ""
    """In a few words, where it may not be called."""


class Request(msgspec.Struct, frozen=True):
    """One request for an upstream, as MCP has it.

    Where the upstream did not take it (it could not be reached, or knew the session no more), it is sent once more over the
    next connection, whatever it does; where it went out and no answer came, never.
    """

    method: str
    params: JsonObject
    """Without what the transport adds; `_meta` holds what the caller sent on and the trace context."""
    deadline: float
    """Moment after which nobody waits."""
    capabilities: JsonObject = {}
    """What the caller's own client can do, declared upstream in its place; empty for what the gateway itself asks."""


class Caller(msgspec.Struct, frozen=True):
    """What a request brings along besides its arguments; part of no key."""

    capabilities: JsonObject = {}
    """What the caller's own client declared that it can do; an upstream is shown these in its place."""
    input_responses: JsonObject | None = None
    """Answers to what the upstream asked for in its result before (`input_required`)."""
    request_state: str | None = None
    """What the upstream wanted back with them, as it gave it."""

    @property
    def goes_on(self) -> bool:
        """Whether this goes on with a request that an upstream has already seen: no announcement, share or memory serves it."""
        return self.input_responses is not None or self.request_state is not None


PLAIN = Caller()
"""A caller that brings nothing along."""


class Fault(StrEnum):
    """Why a call has no result of its tool; a metric label and a word of the audit."""

    UNKNOWN_TOOL = "unknown_tool"
    NOT_ALLOWED = "not_allowed"
    """Quarantined, drifted, not for this tenant, not within these scopes, or its arguments hold a secret."""
    BAD_ARGUMENTS = "bad_arguments"
    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"
    UPSTREAM_DOWN = "upstream_down"
    """Not connected: nothing was sent."""
    UPSTREAM_BROKE = "upstream_broke"
    """It went away, or said what is no MCP, after it was asked."""
    UPSTREAM_REFUSED = "upstream_refused"
    """It answered with an error of the protocol; `ToolFault.error` has it."""
    TOO_LARGE = "too_large"
    """The result passed the bound."""
    BAD_RESULT = "bad_result"
    """Its structured content is not what the tool's `outputSchema` says."""
    AUDIT = "audit"
    """The audit cannot be written and the tool has side effects."""
    CANCELLED = "cancelled"
    BUG = "bug"


class ToolFault(Exception):
    """A call has no result; `message` is a sentence that the model may read."""

    def __init__(self, fault: Fault, message: str, error: JsonObject | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.error = error
        """The upstream's own JSON-RPC error, where it gave one."""

    @property
    def fate(self) -> Fate:
        """How a run ends by it."""
        return {Fault.DEADLINE: Fate.TIMEOUT, Fault.CANCELLED: Fate.CANCELLED}.get(self.fault, Fate.FAULT)


class Fate(StrEnum):
    """How a run ended, each kept apart from the others."""

    SUCCESS = "success"
    ERROR = "error"
    """The tool itself said `isError`."""
    FAULT = "fault"
    """There is no result, see `Fault`."""
    TIMEOUT = "timeout"
    """It ran at least as long as it was allowed: a censored value."""
    CANCELLED = "cancelled"
    """Nobody wanted it any more: a censored value too."""


class Forecast(msgspec.Struct, frozen=True, gc=False):
    """How long a tool will run, in seconds, learned from `num_samples` runs; a prior where that is 0."""

    p10_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    num_samples: float
    """Those that still count: older ones, and those before a change, do not."""
    success: float = 1.0
    """Share of runs that ended well."""


class Called(msgspec.Struct, frozen=True, gc=False):
    """What came of one call that an agent made, for metrics."""

    how: How
    fate: Fate
    fault: Fault | None = None
    queued_s: float | None = None
    """How long its run waited for its turn; None where none began for this call."""
    run_s: float | None = None
    """How long its run took; None where it shares one that is counted already, or none began."""
    forecast: Forecast | None = None
    """What was expected when the run began."""
    saved_s: float = 0.0
    """How much longer the agent would have waited, had the run begun when it asked."""


class AnnouncementEnd(StrEnum):
    """What became of an announcement."""

    CLAIMED = "claimed"
    """The agent asked for it."""
    VOID = "void"
    EXPIRED = "expired"
    """Nobody asked for it in time."""
    DROPPED = "dropped"
    """There was no room for it, or it could not be understood."""


class Load(msgspec.Struct, frozen=True, gc=False):
    """How busy a tool is."""

    running: int = 0
    queued: int = 0
