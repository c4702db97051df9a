"""What the proxy and the gateway tell each other over their local socket: one JSON object a line, in both directions.

The proxy tells of tool calls as a model writes them, and never asks: nothing on the data path waits for the gateway. The
gateway tells of runs. Moments are seconds of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.events import ToolHow, ToolStep
from turnwise.types import CallId

VERSION = 1
"""Of these messages; either side closes a connection of another version and says so."""

MAX_LINE_BYTES = 2 * 1024 * 1024
"""Longest line, its end included: the largest arguments (`limits.max_argument_bytes`) twice over."""


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
    EXPIRED = "expired"
    """Nobody asked for it in time: the gateway's own word, no proxy's."""


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
    """Whether the prompt holds results of tools, or may: open-world tools must not run early then."""
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


Step = ToolStep
How = ToolHow


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
    why: Void | None = None
    """Of step `void`."""


FromGateway = Hello | ToolTold


class TooLong(Exception):
    """A line is longer than `MAX_LINE_BYTES`, or has not ended by then."""


class Lines:
    """Cuts what comes over the socket into lines; keeps at most one that has not ended."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """Take in what was read; returns the lines that it ends, without their ends. Raises `TooLong`."""
        # Only what came is looked through: a line in many pieces is not looked through anew with each.
        *ended, rest = bytes(data).split(b"\n")
        if ended:
            ended[0] = bytes(self._begun) + ended[0]
            self._begun.clear()
        self._begun += rest
        if len(self._begun) >= MAX_LINE_BYTES or any(len(line) >= MAX_LINE_BYTES for line in ended):
            raise TooLong(f"a line of more than {MAX_LINE_BYTES} bytes")
        return ended


def encode(message: FromProxy | FromGateway) -> bytes:
    """One message as a line with its end.

    Arguments stand in it as the model wrote them, on several lines perhaps: JSON has no line's end within a string, so each one
    is space between values.
    """
    line = _ENCODER.encode(message)
    if b"\n" in line:
        line = line.replace(b"\n", b" ")
    return line + b"\n"


_ENCODER = msgspec.json.Encoder()
