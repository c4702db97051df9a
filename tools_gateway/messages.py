"""What the proxy and the gateway tell each other over their local socket: one JSON object a line, in both directions.

The proxy tells of tool calls as a model writes them, and never asks: nothing on the data path waits for the gateway. The
gateway tells of runs. Moments are seconds of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.types import CallId

VERSION = 1
"""Of these messages; either side closes a connection of another version and says so."""


class WhyNotEarly(StrEnum):
    """Why a tool call must not run before the agent asks, whatever its marks: what only the proxy can see."""

    SEVERAL_CHOICES = "several_choices"
    """`n` above 1, or beam search: one of several answers will be taken."""
    NOT_OFFERED = "not_offered"
    """The request offers no tool of this name, or its `tool_choice` forbids it."""
    DRIFT = "drift"
    """This engine, model and dialect has written something behind the end of a tool call's arguments too often."""


class Void(StrEnum):
    """Why nothing of a tool call, or of a whole turn, may be used."""

    LENGTH = "length"
    """The engine stopped for length, or used as many tokens as it was allowed, whatever it said."""
    FILTERED = "filtered"
    REFUSED = "refused"
    BROKEN = "broken"
    """The stream ended without its end, the replica failed, or an error came within it."""
    CLIENT_GONE = "client_gone"
    STOPPED = "stopped"
    """A stop string, or an end that is none of the known clean ones."""
    DRIFT = "drift"
    """Text behind the arguments' end, another id or name, or a final text that differs from its pieces."""
    MALFORMED = "malformed"
    """The arguments are no JSON object by the strict reading, too large or too deep."""
    DISCONNECTED = "disconnected"
    """The proxy's connection to the gateway broke before the turn was settled."""


class Hello(msgspec.Struct, frozen=True, gc=False, tag="hello"):
    """First message in either direction."""

    version: int = VERSION
    name: str = ""
    """Of the process, for people."""


class Announced(msgspec.Struct, frozen=True, gc=False, tag="announced"):
    """A model has begun to write the arguments of a tool call: its name is final."""

    turn: CallId
    """The model's call in whose answer it stands."""
    index: int
    """Its place among the tool calls of that answer, from 0."""
    tool: str
    """As the model wrote it; the gateway resolves aliases."""
    id: str
    """Of the tool call, as the answer has it; empty where the API gives none."""
    at: float
    tenant: str = ""
    """The proxy's tenant: digest of the caller's credential."""
    program: str = ""
    not_early: WhyNotEarly | None = None
    is_tainted: bool = False
    """Whether the prompt already holds results of tools: open-world tools must not run early then."""
    traceparent: str = ""
    """Under which the run's span belongs."""


class Filled(msgspec.Struct, frozen=True, gc=False, tag="filled"):
    """The arguments have closed: one JSON object by the strict reading, nothing auto-closed."""

    turn: CallId
    index: int
    arguments: msgspec.Raw
    at: float


class Voided(msgspec.Struct, frozen=True, gc=False, tag="voided"):
    """One tool call of a turn that goes on is worth nothing."""

    turn: CallId
    index: int
    why: Void
    at: float


class Settled(msgspec.Struct, frozen=True, gc=False, tag="settled"):
    """A turn has ended; `why` is None where it ended cleanly, and only then may results of early runs be given out."""

    turn: CallId
    at: float
    why: Void | None = None


FromProxy = Hello | Announced | Filled | Voided | Settled


class Step(StrEnum):
    """How far the run of a tool call has come."""

    ANNOUNCED = "announced"
    """It is known, and what it needs is being prepared."""
    QUEUED = "queued"
    STARTED = "started"
    PROGRESSED = "progressed"
    FINISHED = "finished"
    VOID = "void"
    """It ran, or would have, for a turn that did not end cleanly; its result was given to nobody."""


class How(StrEnum):
    """How a run came about, and how the agent's call met it."""

    ASKED = "asked"
    """It began when the agent asked for it; an announcement had prepared it."""
    EARLY = "early"
    """It began before the agent asked."""
    SHARED = "shared"
    """An equal call's run served this one too."""
    REMEMBERED = "remembered"
    """The result of an equal call was still good."""


class ToolTold(msgspec.Struct, frozen=True, gc=False, tag="tool"):
    """Something has happened to the run of an announced tool call."""

    turn: CallId
    index: int
    id: str
    program: str
    tool: str
    """Public name."""
    step: Step
    at: float
    how: How = How.ASKED
    queued_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    claimed_at: float | None = None
    """When the agent asked for it."""
    is_ok: bool = True
    predicted_s: float | None = None
    """How long it was expected to run when it began; None where nothing was known."""
    remaining_s: float | None = None
    """How long it is expected to run from `at` on."""


FromGateway = Hello | ToolTold
