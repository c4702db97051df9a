# Longer than 300 lines because it is the whole vocabulary of values, which people look up in one place.
"""The values that walk through the seven steps; every one is frozen and none knows how it is carried.

Units end a name: `_s` seconds, `_bytes` bytes; a bare count is a count of tokens, blocks or calls, as named.
Times are seconds on one monotonic clock, real or virtual, that is handed to whoever needs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NewType

import msgspec

from turnwise.errors import Reason, TurnwiseError
from turnwise.turns import NO_HINTS, Hints, ToolCall

ReplicaId = NewType("ReplicaId", str)
"""Name of a replica; a data-parallel rank above 0 is part of it: `name/1`."""

ProgramId = NewType("ProgramId", str)
"""Our own id of one program: 16 hex digits of its tenant, name and epoch."""

CallId = NewType("CallId", str)
"""Our own id of one call. It stamps KV events, so it is never taken from a client."""

BlockHash = NewType("BlockHash", int)
"""Low 60 bits of the engine's block hash: a Python int of 60 bits is 32 bytes, one of 64 bits is 48."""

BLOCK_HASH_MASK = (1 << 60) - 1

Digest = NewType("Digest", bytes)
"""16 bytes of xxh3_128 over everything up to and including one prompt segment."""

Raw = bytes | memoryview
"""Bytes of a body as they came: often a view of the body, and no copy."""

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in wire order, names in the case in which they came."""


class SegmentKind(StrEnum):
    """What a part of a prompt is; the kind enters the digest, so equal bytes of two kinds never collide."""

    TEMPLATE = "template"
    TOOLS = "tools"
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    TEXT = "text"
    TOKENS = "tokens"
    OTHER = "other"


class Segment(msgspec.Struct, frozen=True, gc=False):
    """One ordered part of a prompt: its kind and its raw bytes, never re-ordered or re-serialised."""

    kind: SegmentKind
    raw: Raw


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an assistant turn says, whoever wrote it down and however: xxh3_64 of each part, 0 where there is none.

    `calls` covers names and arguments of its tool calls in their order, not their ids.
    """

    text: int = 0
    calls: int = 0
    reasoning: int = 0


class LastAnswer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last assistant turn of a prompt: its segments are those from `first` to `last`, both included."""

    first: int
    last: int
    said: Answer


class Prompt(msgspec.Struct, frozen=True, gc=False):
    """All that the engine's chat template sees of a request: segment i is of `kinds[i]` and holds `raws[i]`.

    `root` holds what must never be shared between prompts that agree in text: model, LoRA, `cache_salt`, multimodal policy.
    The raw bytes are views of the request's body wherever they stand in it as they are: an agent's prompt has hundreds of
    segments, and a copy and an object for each would cost more than their digests.
    """

    root: bytes
    kinds: tuple[SegmentKind, ...]
    raws: Sequence[Raw]
    answer: LastAnswer | None = None
    """None where no assistant turn is in it, or where what that says cannot be told."""
    known: PromptChain | None = None
    """Digests of a prompt read before, which begins with the first `num_known` segments of this one; None where none did."""
    num_known: int = 0

    @classmethod
    def of(cls, root: bytes, segments: Iterable[Segment]) -> Prompt:
        """The prompt of these segments."""
        given = tuple(segments)
        return cls(root, tuple(segment.kind for segment in given), tuple(segment.raw for segment in given))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments one by one, their bytes copied."""
        return tuple(Segment(kind, bytes(raw)) for kind, raw in zip(self.kinds, self.raws, strict=True))


class PromptChain(msgspec.Struct, frozen=True, gc=False):
    """Prefix digests of a prompt: `digests[i]` covers segments 0..i, `ends[i]` is the number of raw bytes they hold."""

    digests: tuple[Digest, ...]
    ends: tuple[int, ...]
    answer: LastAnswer | None = None
    """See `Prompt.answer`."""
    template: Digest = Digest(b"")
    """Equal for prompts that one chat template renders in one way: they agree in root and in what they tell the template.

    Empty where no template is involved, or where nobody said.
    """

    @property
    def num_bytes(self) -> int:
        """Raw bytes of the whole prompt."""
        return self.ends[-1] if self.ends else 0


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts as the engine reported them; `cached_tokens` is None where the engine does not say."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None


class DialectName(StrEnum):
    """The API that a caller speaks; it decides how a body is read and how an error is shaped."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    """`/v1/messages/count_tokens`: nothing is generated or cached, so it is relayed; errors in Anthropic's shape."""
    RESPONSES = "responses"
    STORED = "stored"
    """`/v1/responses/{id}`: a stored response is read or cancelled, so it is relayed; errors as in responses."""
    OPENAI = "openai"
    """Any other path of the OpenAI family (embeddings, rerank, tokenize): relayed, errors in OpenAI's shape."""


class Request(msgspec.Struct, frozen=True):
    """One call as read in step 1: what policy needs, and the bytes that will be forwarded."""

    call_id: CallId
    request_id: str
    """Echoed as `x-request-id`: the client's own where valid, else ours."""
    dialect: DialectName
    method: str
    target: str
    headers: Headers
    body: bytes
    arrived_at: float
    read_at: float
    """When its body was complete."""
    model: str | None = None
    """None where the path names no model (any replica will do)."""
    chain: PromptChain | None = None
    """None where the dialect does not understand the body: placed by load alone."""
    is_stream: bool = False
    num_choices: int = 1
    max_tokens: int | None = None
    session: str | None = None
    """The session as the client names it in a header; None where it does not."""
    wants_usage: bool = True
    """False where we spliced `include_usage` and must drop the usage chunk that the client did not ask for."""
    wants_debug: bool = False
    continues: tuple[str, ...] = ()
    """Ids of state that one replica keeps and this call needs; it may go nowhere else."""
    is_stored: bool = False
    """Whether the replica is asked to keep the answer for later calls."""
    unhashed_bytes: int = 0
    """Bytes that the engine's template may see and `chain` does not cover."""
    asks_report: bool = False
    """Whether the client itself asks the engine to announce again what it has cached of this prompt."""
    prompt: Prompt | None = None
    """The segments of which `chain` holds the digests: views of the body."""
    hints: Hints = NO_HINTS


class HitSource(StrEnum):
    """How a number of cached tokens came to be believed."""

    CONFIRMED = "confirmed"
    """The engine's own events name the blocks, and their position in this prompt was taught."""
    PREDICTED = "predicted"
    """Our own recent placements say so."""
    NONE = "none"


class Hit(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one prompt that one replica is believed to hold."""

    tokens: int = 0
    """All that it need not compute, whatever medium they are in."""
    source: HitSource = HitSource.NONE
    dram_tokens: int = 0
    """How many of them must first be brought up from DRAM."""
    disk_tokens: int = 0
    """How many of them must first be brought up from disk."""
    confirmed_tokens: int = 0
    """Where others are guessed to follow them, how many the engine has confirmed."""
    unweighed_tokens: int = 0
    """All of it and the guess as it was before that was weighed; 0 where it was not."""

    @property
    def guessed_tokens(self) -> int:
        """How many were guessed to follow what the engine has confirmed, before that was weighed."""
        if self.unweighed_tokens:
            return self.unweighed_tokens - self.confirmed_tokens
        if self.source is not HitSource.PREDICTED:
            return 0
        return self.tokens - self.dram_tokens - self.disk_tokens - self.confirmed_tokens


class Residency(msgspec.Struct, frozen=True, gc=False):
    """What the index knows of one prompt over the replicas asked for."""

    prompt_tokens: int
    """Length of the prompt: exact where taught, estimated from bytes where not."""
    is_taught: bool
    """Whether some whole prefix of this prompt has been taught by the engine."""
    computed_tokens: int
    """How much of this prompt engines have computed before, here or there, by their word."""
    hits: Mapping[ReplicaId, Hit]


class MediaSpeeds(msgspec.Struct, frozen=True, gc=False):
    """Tokens whose KV blocks one replica brings up in a second, from each slower medium."""

    dram_tokens_per_s: float
    disk_tokens_per_s: float


class ReplicaView(msgspec.Struct, frozen=True, gc=False):
    """One replica as policy may see it at one instant; `hit` is about the prompt at hand."""

    id: ReplicaId
    hit: Hit
    num_running: int
    """Calls that we have booked there and that have not ended."""
    pending_prefill_tokens: float
    """Uncached prompt tokens booked there whose first token has not come."""
    recent_assigned_s: float
    """Decayed sum of the predicted seconds assigned there lately; keeps paced agents from all landing on one replica."""
    prefill_tokens_per_s: float
    """Learned from first-token times, or the setting until there is evidence."""
    decode_s_per_call: float
    """Seconds that each running call adds to a new call's first token."""
    media: MediaSpeeds
    """Learned from first-token times, or the settings until there is evidence."""
    free_tokens: float | None = None
    """KV room beside what running calls add to the cache; None where the capacity is unknown."""
    refilled_since: float = -math.inf
    """Since when it has computed as many tokens as its cache holds; minus infinity where it has not, or nobody knows."""


class FleetView(msgspec.Struct, frozen=True, gc=False):
    """The replicas that may serve one request, frozen for one decision; never empty."""

    replicas: tuple[ReplicaView, ...]
    prompt_tokens: int
    is_taught: bool
    turn: int
    """Placements made so far: whose turn it is, and who wins a tie."""
    computed_tokens: int = 0
    """How much of the prompt engines have computed before, by their word."""
    now: float = 0.0
    """When it was frozen, by the clock of the views."""


class Terms(msgspec.Struct, frozen=True, gc=False):
    """The cost of one candidate in predicted seconds; the weights are already in the terms."""

    queue_s: float = 0.0
    prefill_s: float = 0.0
    eviction_s: float = 0.0
    """What does not fit beside the running calls, and what the next turns would find evicted again."""
    recent_s: float = 0.0
    transfer_s: float = 0.0
    """Bringing up KV blocks from slower media."""
    total_s: float = 0.0
    """Their sum, which is what is compared."""


class Placement(msgspec.Struct, frozen=True, gc=False):
    """Where one attempt goes and why."""

    replica: ReplicaId
    policy: str
    reason: str
    """One word of a closed list per policy: `lowest_cost`, `only_one`, `next_in_turn`, ..."""
    prompt_tokens: int
    is_taught: bool
    """Whether the engine has taught how long this prompt is, or a prefix of it."""
    hit: Hit
    terms: Terms
    costs_s: tuple[tuple[ReplicaId, float], ...] = ()
    """Every candidate's total, cheapest first, where the policy compares costs."""

    @property
    def uncached_tokens(self) -> int:
        """Prompt tokens that this placement expects the replica to compute."""
        return max(0, self.prompt_tokens - self.hit.tokens)


class Outcome(msgspec.Struct, frozen=True):
    """What became of one attempt; the last one of a call settles it. It outlives the call, so it holds nothing of its size."""

    call_id: CallId
    request_id: str
    dialect: DialectName
    model: str | None
    max_tokens: int | None
    num_choices: int
    is_stream: bool
    unhashed_bytes: int
    arrived_at: float
    read_at: float
    placement: Placement
    attempt: int
    status: int | None
    """The replica's HTTP status; None where no head came."""
    is_complete: bool
    """The whole answer reached the client."""
    has_started: bool
    """Some of the answer reached the client, so nobody else may be tried."""
    is_client_gone: bool
    fault: TurnwiseError | None
    usage: Usage | None
    finish_reason: str | None
    booked_at: float
    sent_at: float | None
    head_at: float | None
    first_byte_at: float | None
    first_token_at: float | None
    first_visible_at: float | None
    last_byte_at: float | None
    ended_at: float
    body_bytes: int
    answer: Answer | None = None
    """What the answer said; None where that is not known."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tool calls that it holds."""
    first_tool_at: float | None = None
    """First piece of a tool call's arguments."""
    response_id: str | None = None
    """The engine's id of the answer; None where that was not read."""

    @property
    def is_retryable(self) -> bool:
        """Whether another replica may still answer this call."""
        return self.fault is not None and self.fault.retryable and not self.has_started and not self.is_client_gone

    @property
    def reason(self) -> str:
        """Why it failed, as one of `Reason`; empty where it did not."""
        if self.is_client_gone:
            return Reason.CLIENT_GONE.value
        return "" if self.fault is None else self.fault.reason.value
