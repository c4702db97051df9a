"""What the fleet and the recorder see of sibling workers, and the place that a worker has among them."""

from __future__ import annotations

from typing import Protocol

import msgspec

from turnwise.types import Answer, CallId, PromptChain, ReplicaId, Usage


class Load(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What calls have booked on one replica and not given back."""

    num_running: int = 0
    running_tokens: int = 0
    """Their uncached prompt tokens."""
    pending_tokens: float = 0.0
    """Those of them that are still to be computed."""


NO_LOAD = Load()


class Booking(msgspec.Struct, frozen=True, gc=False):
    """What a call that goes to a replica books there."""

    call_id: CallId
    chain: PromptChain | None
    replica: ReplicaId
    prompt_tokens: int
    uncached_tokens: int
    """Those of them that the replica computes."""
    assigned_s: float
    """For how long that should keep it busy."""
    reports: bool
    """Whether it was told to report all blocks of the prompt."""


class Siblings(Protocol):
    """The other workers, as those who have news for them see them; nothing here waits."""

    def booked(self, booking: Booking) -> None:
        """A call goes to a replica, which changes its load."""

    def changed(self, replica: ReplicaId) -> None:
        """A call at `replica` got its first token or has ended: its load, maybe its breaker, is no longer what it was."""

    def settled(
        self, call_id: CallId, replica: ReplicaId, usage: Usage | None, answer: Answer | None, *, is_lesson: bool
    ) -> None:
        """A call, or one attempt of it, has ended at `replica`; `is_lesson` is whether indexes may learn from it."""

    def learned(self, replica: ReplicaId, tokens_per_s: float) -> None:
        """The prefill speed of `replica` is now believed to be this."""

    def loaded(self, replica: ReplicaId, medium: str, token_s: float) -> None:
        """A call told how long `replica` takes to bring up a token's KV from a slower medium."""

    def kept(self, response_id: str, replica: ReplicaId) -> None:
        """`replica` keeps an answer under this id."""

    def listen(self) -> None:
        """Take in what siblings have told until now."""

    async def linger(self) -> None:
        """Wait until what any sibling knows now has been told."""


class Seat(msgspec.Struct, frozen=True):
    """The place of one worker: its number, and the sockets that it inherits by file descriptor."""

    number: int
    inbound_fd: int
    """Where it hears its siblings."""
    sibling_fds: dict[int, int]
    """Where each sibling hears it, by the sibling's number."""
    admin_path: str
    """Unix socket of its admin API."""
    drained: tuple[ReplicaId, ...] = ()
    """Replicas that have been told to drain before it started."""
    is_successor: bool = False
    """Whether a process was here before it, so that siblings may remember what it cannot know."""
