"""One datagram between workers, and what may stand in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from turnwise.proxy.programs import elsewhere
from turnwise.proxy.workers.ports import Booking, Load
from turnwise.types import Answer, CallId, Digest, LastAnswer, ReplicaId, Usage

MAX_DATAGRAM_BYTES = 64 * 1024
"""A third of what Linux lets a socket queue by default."""

MAX_BOUNDARIES = 2048
"""Boundaries of one chain that are told: at most 27 bytes each, so a datagram holds them. Agents have a few hundred."""

MAX_ID_CHARS = 4096
"""Of a response id that is told; engines make ids of some forty characters."""


class LoadOf(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The sender's own load on one replica, and until when its breaker is open on the machine's monotonic clock."""

    replica: ReplicaId
    load: Load
    open_until: float


class Booked(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A call was placed; empty `digests` where its prompt is not understood."""

    call_id: CallId
    replica: ReplicaId
    prompt_tokens: int
    uncached_tokens: int
    """Of the whole prompt."""
    assigned_s: float
    digests: tuple[Digest, ...]
    ends: tuple[int, ...]
    is_whole: bool
    """Whether the chain is; of a longer one the first boundaries are told, and nothing can be learned from its end."""
    answer: LastAnswer | None = None
    template: Digest = Digest(b"")
    reports: bool = False
    """Whether the replica was told to report all blocks of the prompt."""


class Settled(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """A booked call has ended; `is_lesson` is whether it teaches."""

    call_id: CallId
    replica: ReplicaId
    usage: Usage | None
    """As the engine reported it; None where it did not."""
    answer: Answer | None
    """What the answer said; None where that is not known."""
    is_lesson: bool


class Learned(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """A replica's prefill speed."""

    replica: ReplicaId
    tokens_per_s: float


class Loaded(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=9):
    """What one call told of how long a replica takes to bring up a token's KV from a slower medium."""

    replica: ReplicaId
    medium: str
    token_s: float


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=4):
    """A replica keeps an answer."""

    response_id: str
    replica: ReplicaId


News = Booked | Settled | Learned | Loaded | Kept | elsewhere.News


class Question(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A worker that was started again wants to know what one sibling remembers."""

    sibling: int
    asked_at: float
    """On the machine's monotonic clock; it tells questions of one process from those of the process before it."""


class Datagram(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one worker tells at one moment."""

    sender: int
    loads: tuple[LoadOf, ...] = ()
    news: tuple[News, ...] = ()
    is_whole: bool = False
    """A heartbeat: replicas that are not among `loads` have none of the sender's."""
    asks: Question | None = None
    answers: float | None = None
    """All that the receiver asked for at this moment has been told."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Datagram)


def decode(data: bytes | memoryview) -> Datagram:
    """Read a datagram; raises `ValueError` where it is none."""
    datagram = _decoder.decode(data)
    for item in datagram.news:
        if isinstance(item, Booked) and len(item.digests) != len(item.ends):
            raise ValueError("a chain must have one end for each digest")
    return datagram


def encode(datagram: Datagram, left_out: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """Write what `datagram` tells, as several where it is too large for one.

    An item that by itself is too large, or cannot be written, is left out, and `left_out` is called for it: what nobody
    expected of a client must not keep a worker from telling the rest.
    """
    data = _written(datagram)
    if data is not None:
        yield data
        return
    news, loads = datagram.news, datagram.loads
    if len(news) + len(loads) <= 1:
        left_out()
        if news:
            yield from encode(msgspec.structs.replace(datagram, news=()), left_out)
        return
    # All but half of the news goes with the first part, so that nothing is told twice.
    if news:
        middle = len(news) // 2
        yield from encode(msgspec.structs.replace(datagram, news=news[:middle]), left_out)
        yield from encode(Datagram(datagram.sender, news=news[middle:]), left_out)
    else:
        middle = len(loads) // 2
        yield from encode(msgspec.structs.replace(datagram, loads=loads[:middle]), left_out)
        yield from encode(Datagram(datagram.sender, loads=loads[middle:]), left_out)


def _written(datagram: Datagram) -> bytes | None:
    """One datagram; None where it is too large, or something in it cannot be written: half a surrogate pair, a huge number."""
    try:
        data = _encoder.encode(datagram)
    except (ValueError, OverflowError):
        return None
    return data if len(data) <= MAX_DATAGRAM_BYTES else None


def booked(told: Booking) -> Booked:
    """The news of a booking; of a chain with too many boundaries, the first ones and their share of the tokens."""
    chain, prompt_tokens = told.chain, told.prompt_tokens
    if chain is None or not chain.digests:
        return Booked(told.call_id, told.replica, 0, told.uncached_tokens, told.assigned_s, (), (), is_whole=True)
    digests, ends, answer = chain.digests, chain.ends, chain.answer
    is_whole = len(digests) <= MAX_BOUNDARIES
    if not is_whole:
        digests, ends = digests[:MAX_BOUNDARIES], ends[:MAX_BOUNDARIES]
        prompt_tokens = prompt_tokens * ends[-1] // max(1, chain.num_bytes)
        answer = answer if answer is not None and answer.last < MAX_BOUNDARIES else None
    return Booked(
        told.call_id,
        told.replica,
        prompt_tokens,
        told.uncached_tokens,
        told.assigned_s,
        digests,
        ends,
        is_whole,
        answer,
        chain.template,
        told.reports,
    )
