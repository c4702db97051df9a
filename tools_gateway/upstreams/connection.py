"""What a session needs of the way to its upstream: to dial, to ask, to hear of changes, to be told that it is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.upstreams.greeting import Greeting
from turnwise.tools_gateway.values import JsonObject, Request, ToolFault


class Unsent(ToolFault):
    """The upstream did not take the request: it may be sent once more, whatever it does, for there is no second effect."""


class Connection(Protocol):
    """A way to an upstream that has been greeted."""

    @property
    def greeting(self) -> Greeting:
        """What was agreed on."""

    @property
    def pid(self) -> int | None:
        """Of the upstream's program; None where it is none of ours."""

    @property
    def lost(self) -> ToolFault | None:
        """Why it is of no more use; None while it stands."""

    def accept(self, definitions: list[JsonObject]) -> list[JsonObject]:
        """Learn from a list of tools how they are called; returns those that can be."""

    async def ask(self, request: Request, notify: Notify | None = None, answer: Answer | None = None) -> JsonObject:
        """Send one request and give its result; being cancelled cancels it. Raises `ToolFault`."""

    async def check(self) -> None:
        """Raise `ToolFault` where the other side answers nothing any more; may wait for ever."""

    async def watch(self, uris: Sequence[str]) -> bool:
        """Keep open what news come by, for as long as the other side does; False where there is nothing to keep open.

        `uris` are the resources whose changes are wanted, where that is said as the stream is opened.

        Raises `ToolFault`.
        """

    def give_up(self, why: str) -> None:
        """Take it for lost, which `why` says in a sentence: nothing that it says is waited for."""

    async def aclose(self) -> None:
        """End it; what is asked meanwhile fails."""


class Dial(Protocol):
    """Makes the connections of one session, one after another."""

    async def __call__(self) -> Connection:
        """A connection that stands; raises `ToolFault`, and leaves nothing behind then."""

    async def aclose(self) -> None:
        """Give back what connections share."""
