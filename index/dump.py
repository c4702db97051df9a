"""The index as bytes, and back: a restarted proxy knows at once what the one before it knew, and trusts it when told to.

A header (format and version), a checksum of the rest, and the rest in msgpack. What is predicted and what calls in flight wait
for is left out: it lives for seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain
from math import inf

import msgspec
from xxhash import xxh3_128_digest

from turnwise.index.domains import Domain, Domains
from turnwise.index.estimate import BytesPerToken
from turnwise.index.holdings import Holdings
from turnwise.index.states import DomainState, IndexState, ReplicaState
from turnwise.types import ReplicaId

HEADER = b"turnwise index " + sys.byteorder.encode() + b"\0\2"
"""The format, the order of bytes in its arrays and, in its last two bytes, its version."""

CHECKSUM_BYTES = 16

WAIT_S = 600.0
"""How long what was restored of a replica waits for it to be found again."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(IndexState).decode


def dump(domains: Domains, replicas: Iterable[Holdings]) -> bytes:
    """What is known of `replicas` and of the prompts that their domains were taught: a million blocks in half a second."""
    holders: dict[Domain, list[Holdings]] = {domain: [] for domain in domains}
    for holdings in replicas:
        holders[holdings.domain].append(holdings)
    places = {domain: place for place, domain in enumerate(holders)}
    states = [_domain(domain, members, is_shared=domains.is_shared(domain)) for domain, members in holders.items()]
    written = [
        _replica(holdings, places[domain], _slots(members)) for domain, members in holders.items() for holdings in members
    ]
    rates = {domain.key.model: domain.rate.state for domain in domains}
    body = _encode(IndexState(tuple(written), tuple(states), rates))
    return b"".join((HEADER, xxh3_128_digest(body), body))


class Restored:
    """Replicas that were restored and have not been found again; their blocks stay in their domains for them."""

    def __init__(self) -> None:
        self._waiting: dict[ReplicaId, tuple[ReplicaState, Domain, dict[str, int]]] = {}
        self._until = 0.0

    def restore(self, data: bytes, domains: Domains, max_blocks: int, now: float) -> list[ReplicaId]:
        """Take in what `dump` gave, into `domains` that has none; returns the replicas that it knew.

        Raises `ValueError` saying what is wrong with `data`; nothing of it is taken in then.
        """
        if len(domains):
            raise ValueError("an index that follows replicas already cannot be restored")
        state = _read(data)
        try:
            rates = {model: _rate(rate) for model, rate in state.rates.items()}
            found: list[tuple[Domain, list[int]]] = []
            for known in state.domains:
                domain = domains.new(known.key, rates[known.key.model])
                domain.block_size = known.block_size
                domain.heads.update(known.heads)
                domain.evidence.restore(known.evidence, known.templates, known.block_size or 1)
                found.append((domain, domain.index.restore(known.blocks, max_blocks)))
            waiting = {}
            for replica in state.replicas:
                domain, slots = found[replica.domain]
                _check_weights(replica)
                domain.members.add(replica.replica)
                waiting[replica.replica] = (replica, domain, {medium: slots[at] for medium, at in replica.slots.items()})
        except (ValueError, LookupError) as error:
            raise ValueError(f"what was written down of the index contradicts itself: {error!r}") from error
        for (domain, _), known in zip(found, state.domains, strict=True):
            domains.install(domain, is_shared=known.is_shared)
        self._waiting, self._until = waiting, now + WAIT_S
        return list(waiting)

    def hand_over(self, holdings: Holdings) -> None:
        """Give a replica that was found again what was restored of it, if it is followed by the same facts as then."""
        waiting = self._waiting.pop(holdings.replica, None)
        if waiting is None:
            return
        state, domain, slots = waiting
        facts = (state.key, state.num_blocks, state.has_events)
        if facts == (holdings.key, holdings.num_blocks, holdings.has_events):
            holdings.take_over(domain, slots, is_split=state.is_split, is_predicted_only=state.is_predicted_only)
            for source, score in state.weighed.items():
                holdings.loop.of(source).restore(score)
        else:
            _retire(domain, slots)
            if holdings.domain is not domain:
                domain.members.discard(holdings.replica)

    def sweep(self, now: float) -> None:
        """Forget the replicas that have not been found in time."""
        if self._waiting and now >= self._until:
            for replica, (_, domain, slots) in self._waiting.items():
                _retire(domain, slots)
                domain.members.discard(replica)
            self._waiting.clear()


def _domain(domain: Domain, members: list[Holdings], *, is_shared: bool) -> DomainState:
    tree, templates = domain.evidence.state()
    heads = tuple(domain.heads.items())
    blocks = domain.index.state(_slots(members))
    return DomainState(domain.key, is_shared, domain.block_size, heads, blocks, tree, templates)


def _replica(holdings: Holdings, domain: int, slots: list[int]) -> ReplicaState:
    return ReplicaState(
        holdings.replica,
        holdings.key,
        holdings.num_blocks,
        holdings.has_events,
        domain,
        {medium: slots.index(slot) for medium, slot in holdings.slots.items()},
        holdings.is_split,
        holdings.is_predicted_only,
        {score.source: score.state for score in (holdings.loop.confirmed, holdings.loop.predicted)},
    )


def _slots(members: list[Holdings]) -> list[int]:
    return list(chain.from_iterable(holdings.slots.values() for holdings in members))


def _read(data: bytes) -> IndexState:
    if not data.startswith(HEADER):
        raise ValueError(f"not an index of this version: it begins with {data[: len(HEADER)]!r}")
    body = memoryview(data)[len(HEADER) + CHECKSUM_BYTES :]
    if xxh3_128_digest(body) != data[len(HEADER) : len(HEADER) + CHECKSUM_BYTES]:
        raise ValueError(f"the checksum over {len(body)} bytes of an index is wrong: it was cut or damaged")
    try:
        return _decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(f"what was written down of the index cannot be read: {error}") from error


def _rate(state: tuple[float, float, float]) -> BytesPerToken:
    rate = BytesPerToken(state[0])
    rate.restore(state)
    return rate


def _check_weights(replica: ReplicaState) -> None:
    for claimed, missing in replica.weighed.values():
        if not (0 <= missing <= claimed < inf and claimed):
            raise ValueError(f"{missing} of {claimed} claimed tokens are missing")


def _retire(domain: Domain, slots: dict[str, int]) -> None:
    for slot in slots.values():
        domain.index.retire_slot(slot)
