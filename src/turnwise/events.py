"""What engines tell us, in our words: an adapter turns its wire format into these, and nobody else reads that format."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.types import BlockHash, CallId

FULL_ATTENTION = "full_attention"

GPU, DRAM, DISK = "GPU", "CPU", "STORAGE"
"""Media in which an engine keeps blocks, by the names that vLLM gives them."""


class BlocksStored(msgspec.Struct, frozen=True, gc=False):
    """Full KV blocks that an engine has filled, in prompt order.

    `parent` is the hash of the block before the first, None at the head of a prompt.
    `head_key` identifies the content of the first block of a prompt (tokens and extra keys) without the engine's hash: two
    replicas that publish one `head_key` under two hashes do not share a hash domain. None unless `parent` is None.
    `call_id` is the stamp that the storing call carried in `X-Session-ID`, None where the engine does not stamp.
    """

    hashes: tuple[BlockHash, ...]
    parent: BlockHash | None
    block_size: int
    medium: str = "GPU"
    call_id: str | None = None
    head_key: int | None = None
    spec_kind: str = FULL_ATTENTION
    group: int = 0
    is_chained: bool = True
    """False where the engine names blocks and says nothing of what lies before each: no order, no parent, no tokens."""


class BlocksRemoved(msgspec.Struct, frozen=True, gc=False):
    """KV blocks that an engine no longer holds in `medium`."""

    hashes: tuple[BlockHash, ...]
    medium: str = "GPU"
    group: int = 0


class BlocksCleared(msgspec.Struct, frozen=True, gc=False):
    """An engine has dropped its whole prefix cache."""


KvEvent = BlocksStored | BlocksRemoved | BlocksCleared


class Nonsense(StrEnum):
    """Why an event was left out of its batch."""

    UNKNOWN_TYPE = "unknown_type"
    UNREADABLE = "unreadable"
    """Fields are missing or of the wrong types."""
    OVERSIZE = "oversize"
    """More blocks than any prompt has."""
    CONTRADICTORY = "contradictory"
    """Its fields cannot all be true."""


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """Events of one batch that were left out for one reason; `first` says in a few words what was wrong with the first."""

    why: Nonsense
    count: int
    first: str


class EventBatch(msgspec.Struct, frozen=True, gc=False):
    """Events of one engine step; `sequence` counts from 0 with the engine's process, so its going back is a restart.

    What could not be read is in `dropped`, an entry for each reason. Where that was a removal, or may have been one,
    `hides_removal` is true: any block of that replica may be gone, as after a batch that was lost.
    """

    sequence: int
    rank: int
    events: tuple[KvEvent, ...]
    published_at: float = 0.0
    """Unix time on the engine's clock; by it, batches that say the same at one number of two processes differ."""
    dropped: tuple[Dropped, ...] = ()
    hides_removal: bool = False


class LoadReport(msgspec.Struct, frozen=True, gc=False):
    """What an engine says of itself when asked: counts of calls, and its cache as configured; None where it does not say."""

    num_running: int | None = None
    num_waiting: int | None = None
    kv_usage: float | None = None
    block_size: int | None = None
    num_blocks: int | None = None
    hash_algorithm: str | None = None
    started_at: float | None = None
    """Unix time at which the engine's process started: another one means that its cache is empty again."""


class EventSourceInfo(msgspec.Struct, frozen=True, gc=False):
    """Where one rank of a replica publishes KV events, with wildcard hosts already replaced by the replica's own."""

    rank: int
    endpoint: str
    replay_endpoint: str | None
    topic: str = ""


class ReplicaFacts(msgspec.Struct, frozen=True, gc=False):
    """What discovery learned of one replica before it is routed to."""

    models: tuple[str, ...]
    max_model_len: int | None = None
    engine: str = "unknown"
    version: str | None = None
    event_sources: tuple[EventSourceInfo, ...] = ()
    load: LoadReport = LoadReport()


class ToolStep(StrEnum):
    """How far the run of a tool call has come."""

    ANNOUNCED = "announced"
    """It is known, and what it needs is being prepared."""
    QUEUED = "queued"
    STARTED = "started"
    PROGRESSED = "progressed"
    FINISHED = "finished"
    """Told again, with `claimed_at`, where the agent asks for a result that is held."""
    VOID = "void"
    """Its turn did not end cleanly, or no agent asked for it in time: its result, if there is one, is given to nobody."""


class ToolHow(StrEnum):
    """How a run came about, and how the agent's call met it."""

    ASKED = "asked"
    """It began when the agent asked for it; an announcement had prepared it."""
    EARLY = "early"
    """It began before the agent asked."""
    SHARED = "shared"
    """An equal call's run served this one too."""
    REMEMBERED = "remembered"
    """The result of an equal call was still good."""


class ToolEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One run of a tool as what ran it measured it; times are seconds on the proxy's clock."""

    tool_call_id: str
    """As the model's answer has it."""
    queued_at: float
    started_at: float
    ended_at: float
    ok: bool = True
    how: ToolHow = ToolHow.ASKED
    claimed_at: float | None = None
    """When the agent asked for it; None where it has not, or nobody knows."""
    predicted_s: float | None = None
    """How long it was expected to run when it began."""
    step: ToolStep = ToolStep.FINISHED
    """Before `finished`, the times that have not come are those of the event."""
    remaining_s: float | None = None
    """How long it was expected to run on, at `told_at`."""
    told_at: float = 0.0
    turn: CallId = CallId("")
    """The model's call that wrote it, where the tools gateway told: its clock is the proxy's, and a run may begin before that
    call has ended. Empty where somebody else did, whose clock is another."""
    tool: str = ""
    """The name under which the gateway offers it."""
    is_expired: bool = False
    """Of step `void`: whether that is because no agent asked for it in time."""
