"""Replicas as they are asked about, call after call: grouped by domain once, and anew when one of them has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from turnwise.index.domains import Domain
from turnwise.index.holdings import SLOWER, Holdings
from turnwise.index.runs import Run
from turnwise.index.waiting import Waiting
from turnwise.types import Digest, Hit, PromptChain, ReplicaId

NO_HIT = Hit()


Member = tuple[ReplicaId, Holdings, Waiting, Callable[[Digest], Run | None], Callable[[PromptChain, float, Run | None], int]]
"""A replica, the calls that wait for it, and two look-ups of what is predicted of it: the run that a prompt begins with, and
`tokens_since`."""


class Members(msgspec.Struct, frozen=True):
    """Those of one hash domain."""

    domain: Domain
    replicas: list[Member]
    confirmed: int
    """Mask of the slots of those whose events tell what they hold."""
    by_slot: dict[int, ReplicaId]
    """Them by their slot."""
    slower: list[tuple[ReplicaId, list[str], list[int]]]
    """Those of them that hold blocks in slower media: which, the fastest first, and their slots."""
    weights: dict[ReplicaId, float]
    """What a token that is predicted of them is worth; those of which it is less than 1."""


class Asked(msgspec.Struct, frozen=True):
    """A set of replicas."""

    no_hits: dict[ReplicaId, Hit]
    """All of them without a hit, to start from."""
    groups: list[Members]


def grouped(replicas: Iterable[ReplicaId], known: Mapping[ReplicaId, Holdings]) -> Asked:
    """Group `replicas` by their domains; unknown ones have no domain and never a hit."""
    no_hits = dict.fromkeys(replicas, NO_HIT)
    members: dict[Domain, list[Holdings]] = {}
    for replica in no_hits:
        holdings = known.get(replica)
        if holdings is not None:
            members.setdefault(holdings.domain, []).append(holdings)
    return Asked(no_hits, [_members(domain, holders) for domain, holders in members.items()])


def _members(domain: Domain, holders: list[Holdings]) -> Members:
    confirmed = [holdings for holdings in holders if holdings.is_confirmed]
    return Members(
        domain=domain,
        replicas=[
            (holdings.replica, holdings, holdings.waiting, holdings.predicted.heads.get, holdings.predicted.tokens_since)
            for holdings in holders
        ],
        confirmed=sum(1 << holdings.block_slot for holdings in confirmed),
        by_slot={holdings.block_slot: holdings.replica for holdings in confirmed},
        weights={holdings.replica: weight for holdings in holders if (weight := holdings.predicted_weight) != 1.0},
        slower=[
            (holdings.replica, media, [holdings.slower[medium] for medium in media])
            for holdings in confirmed
            if (media := [medium for medium in SLOWER if medium in holdings.slower])
        ],
    )
