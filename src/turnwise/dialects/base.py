"""What a dialect gives: how a body is read, how an answer is watched, how an error is shaped."""

from __future__ import annotations

from typing import Protocol

import msgspec

from turnwise.dialects.grown import Growth
from turnwise.errors import TurnwiseError
from turnwise.turns import NO_HINTS, Hints, Tail, ToolCall
from turnwise.types import Answer, DialectName, Headers, Prompt, Usage


class ReadCall(msgspec.Struct, frozen=True):
    """What a dialect understood of a body.

    `body` is what to forward: the client's own bytes, or those with `include_usage` spliced in; `adds_usage` says which.
    `prompt` is None where the dialect relays without understanding.
    """

    body: bytes
    model: str | None = None
    prompt: Prompt | None = None
    is_stream: bool = False
    adds_usage: bool = False
    num_choices: int = 1
    max_tokens: int | None = None
    continues: tuple[str, ...] = ()
    """Ids of state that some replica keeps and this call needs: `previous_response_id`, `conversation`."""
    is_stored: bool = False
    """Whether the replica is asked to keep the answer, under the id that the tap sees."""
    unhashed_bytes: int = 0
    """Bytes that the engine's template may see and `prompt` does not hold; anything but 0 is a defect of the dialect."""
    asks_report: bool = False
    """Whether the body asks the engine to announce again what it has cached of the prompt."""
    growth: Growth | None = None
    """What is to be given the chain of the prompt, so that the next body is read from where this one ends; None for nothing."""
    hints: Hints = NO_HINTS


class Unread(msgspec.Struct, frozen=True, gc=False):
    """Reads that wait to be looked at together, and when each came; whoever adds one adds both, and no more than `limit`."""

    reads: list[bytes]
    times: list[float]
    limit: int


class Watcher(Protocol):
    """Sees one answer after its bytes were written on."""

    @property
    def unread(self) -> Unread | None:
        """Where reads of whole events may be put by as long as no other is fed; None where each must be fed."""

    def on_head(self, status: int, *, is_stream: bool) -> None:
        """The answer's head has come; `is_stream` is whether its body is server-sent events."""

    def feed(self, data: bytes, now: float) -> Watcher | None:
        """Body bytes of one read; one that has seen all that it wants may return who watches the rest in its place."""

    def close(self, now: float) -> None:
        """The body is complete."""


class Tap(Watcher, Protocol):
    """A watcher that takes the facts out of an answer; it scans for what it needs and parses only there."""

    @property
    def usage(self) -> Usage | None:
        """Token counts, where the answer told them."""

    @property
    def first_token_at(self) -> float | None:
        """First content-bearing event (text, reasoning, tool arguments); the whole answer's arrival where it is no stream."""

    @property
    def first_visible_at(self) -> float | None:
        """First visible text of the answer: reasoning and tool arguments are not it."""

    @property
    def finish_reason(self) -> str | None:
        """Why the engine stopped."""

    @property
    def response_id(self) -> str | None:
        """Id that the answer bears, and under which a replica that is asked to (`ReadCall.is_stored`) keeps it."""

    @property
    def answer(self) -> Answer | None:
        """What the answer said, once it is complete; None where that is not known, or nobody wants it."""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls that the answer holds, once it is complete; empty where nobody wants to know what it says."""

    @property
    def first_tool_at(self) -> float | None:
        """First piece of a tool call's arguments; the whole answer's arrival where it is no stream and calls a tool."""


class StreamFilter(Protocol):
    """Takes out of a stream what the client did not ask for."""

    @property
    def mark(self) -> bytes | None:
        """A read of whole events without these bytes passes as it is and need not be fed; None where every read must be."""

    def feed(self, data: bytes) -> bytes:
        """What to write on for these bytes; holds back an incomplete event."""

    def close(self) -> bytes:
        """What is still held."""


class Dialect(Protocol):
    """One API that callers speak."""

    name: DialectName

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:
        """Read a request body; raises `ClientFault` naming the field that is wrong."""

    def tap(self, *, wants_answer: bool = False) -> Tap | None:
        """A tap for one answer, which says what that says only if `wants_answer`; None where the dialect watches nothing."""

    def tail(self, prompt: Prompt, first: int) -> Tail:
        """What the segments of a prompt from number `first` on add to its conversation; `first` begins a turn."""

    def quotes(self, prompt: Prompt) -> tuple[int, ...]:
        """Hashes of what a prompt's user says first, as `ToolCall.quotes` has them of arguments."""

    def usage_filter(self) -> StreamFilter | None:
        """The filter for a stream whose body we spliced; None where no body is ever spliced."""

    def error(self, fault: TurnwiseError) -> bytes:
        """JSON body of an error answer in this dialect's shape."""

    def error_event(self, fault: TurnwiseError) -> bytes:
        """Server-sent event that tells of a failure within a stream, its terminator included."""
