"""One replica as the fleet keeps it, and what a call books on it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Self

from turnwise.events import LoadReport, ReplicaFacts
from turnwise.proxy.following import Following
from turnwise.proxy.held import HeldState, Holder
from turnwise.proxy.policy.calibrate import decayed
from turnwise.proxy.policy.loading import Loading
from turnwise.proxy.policy.turnover import Turnover
from turnwise.proxy.wire.ports import Origin
from turnwise.proxy.workers.ports import NO_LOAD, Siblings
from turnwise.settings import PolicySettings, Replica
from turnwise.types import Hit, Placement, ReplicaId, ReplicaView

FEED_STATES = ("none", "connecting", "live", "partial", "stale")
"""What the event feed of a replica can be: absent, not yet heard, whole, without what was stored before it, or broken."""

STEP_TOKENS = 4096
"""Prompt tokens of one engine step, about; docs/decisions/0003 says why and what other figures did."""


class Member:
    """One replica as the fleet keeps it; written by discovery, the feed, leases and siblings' news, read through views.

    `siblings` hear of what calls do here; None where there are none. `on_change` is called when it begins or ceases to take
    calls, or calls for some model.
    """

    def __init__(
        self,
        replica: Replica,
        policy: PolicySettings,
        siblings: Siblings | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self.id = ReplicaId(replica.name)
        self.settings = replica
        self.siblings = siblings
        self.origin = Origin.of(replica.url)
        self._facts: ReplicaFacts | None = None
        self.models: tuple[str, ...] | None = None
        """What it serves; None until discovery has reached it once."""
        self.capacity_tokens: int | None = None
        """Tokens of KV that it says it has room for."""
        self.load: LoadReport | None = None
        """What it last said of itself."""
        self._is_healthy = False
        self._is_draining = False
        self._on_change = on_change
        self.life = 0
        """Counts its starts, as far as they were noticed; what it held in an earlier life is gone."""
        self.feed = "none"
        """One of `FEED_STATES`."""
        self.following = Following()
        """What its feed has noted since it was admitted."""
        self.elsewhere = NO_LOAD
        """What sibling workers have booked here; of the next two figures it is a part."""
        self.num_running = 0
        self.running_tokens = 0
        """Uncached prompt tokens of running calls: what they add to the cache. (A shared prefix is there once.)"""
        self.prefilling: OrderedDict[Lease, int] = OrderedDict()
        """Calls whose first token has not come, oldest first, each with its uncached tokens."""
        self.prefilling_tokens = 0
        """Their sum."""
        self.prefill_ended_at = 0.0
        """When a call last got its first token."""
        self.learned_tokens_per_s: float | None = None
        """Prefill speed learned from its own calls."""
        self.loading = Loading(policy)
        """How fast it brings up blocks from slower media."""
        self.turnover = Turnover()
        """How fast its cache is filled anew."""
        self.open_until = 0.0
        """Until when its breaker keeps new calls away, unless nobody else is left."""
        self._recent_s = 0.0
        self._recent_at = 0.0
        self._half_life_s = policy.recent_half_life_s
        self._decode_s_per_call = policy.decode_s_per_call

    @property
    def facts(self) -> ReplicaFacts | None:
        """What it is; None until discovery has reached it once."""
        return self._facts

    @facts.setter
    def facts(self, facts: ReplicaFacts | None) -> None:
        self._facts = facts
        self.models = None if facts is None else facts.models
        load = None if facts is None else facts.load
        if load is None or load.num_blocks is None or load.block_size is None:
            self.capacity_tokens = None
        else:
            self.capacity_tokens = load.num_blocks * load.block_size
        self._changed()

    @property
    def is_healthy(self) -> bool:
        """Whether it answered when it was last asked how it is."""
        return self._is_healthy

    @is_healthy.setter
    def is_healthy(self, is_healthy: bool) -> None:
        self._is_healthy = is_healthy
        self._changed()

    @property
    def is_draining(self) -> bool:
        """Whether it is to get no new calls."""
        return self._is_draining

    @is_draining.setter
    def is_draining(self, is_draining: bool) -> None:
        self._is_draining = is_draining
        self._changed()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()

    def serves(self, model: str | None) -> bool:
        """Whether a call for `model` may be sent here (None: any model will do)."""
        return self.models is not None and (model is None or model in self.models)

    def view(self, hit: Hit, now: float, expected_tokens_per_s: float) -> ReplicaView:
        """Freeze what policy may see of it; `hit` is about the prompt at hand, the speed is for one that has shown none."""
        rate = self.learned_tokens_per_s or expected_tokens_per_s
        return ReplicaView(
            self.id,
            hit,
            self.num_running,
            self.pending_prefill_tokens(now, rate),
            self.recent_assigned_s(now),
            rate,
            self._decode_s_per_call,
            self.loading.speeds,
            None if self.capacity_tokens is None else self.capacity_tokens - self.running_tokens,
            self.turnover.since,
        )

    def is_routable(self, now: float) -> bool:
        """Whether new calls should be sent here."""
        return self.is_healthy and not self.is_draining and now >= self.open_until

    def recent_assigned_s(self, now: float) -> float:
        """Predicted seconds assigned here lately, decayed to `now`."""
        if self._recent_s and now != self._recent_at:
            self._recent_s = decayed(self._recent_s, now - self._recent_at, self._half_life_s)
            self._recent_at = now
        return self._recent_s

    def assign(self, seconds: float, uncached_tokens: int, now: float) -> None:
        """Add predicted seconds of a new call, and the tokens that it will have computed."""
        self._recent_s = self.recent_assigned_s(now) + seconds
        self._recent_at = now
        if self.capacity_tokens is not None and uncached_tokens:
            self.turnover.add(uncached_tokens, now, self.capacity_tokens)

    def pending_prefill_tokens(self, now: float, tokens_per_s: float) -> float:
        """Uncached tokens booked here and not computed by `now`: of the oldest call, those that it had time for are done.

        Its last step counts whole, for whoever comes in the midst of a step waits for its end.
        """
        if self.prefilling_tokens <= STEP_TOKENS:
            return self.prefilling_tokens + self.elsewhere.pending_tokens  # no call is longer than a step
        oldest, tokens = next(iter(self.prefilling.items()))
        began_at = max(oldest.booked_at, self.prefill_ended_at)
        done_tokens = min(tokens - STEP_TOKENS, (now - began_at) * tokens_per_s)
        return self.prefilling_tokens - max(0.0, done_tokens) + self.elsewhere.pending_tokens


class Lease:
    """What one attempt holds of its replica; leaving the `with` gives all of it back, whatever happened."""

    __slots__ = ("_held", "asks_report", "booked_at", "is_alone", "member", "placement", "uncached_tokens", "work_tokens")

    def __init__(
        self,
        member: Member,
        placement: Placement,
        now: float,
        pending_tokens: float,
        held: HeldState,
        *,
        asks_report: bool = False,
    ) -> None:
        self.member = member
        self.asks_report = asks_report
        """Whether the replica is to be asked for a full report of this prompt's blocks."""
        self._held = held
        self.placement = placement
        self.booked_at = now
        uncached_tokens = self.uncached_tokens = placement.uncached_tokens
        self.work_tokens = pending_tokens + uncached_tokens
        """Uncached tokens that the replica computes before this call's first token: those ahead of it and its own."""
        self.is_alone = not pending_tokens
        """Whether no other prefill stood before it, or beside its end: then what it waited for was its own."""
        member.num_running += 1
        member.running_tokens += uncached_tokens
        member.prefilling[self] = uncached_tokens
        member.prefilling_tokens += uncached_tokens

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        member = self.member
        if self in member.prefilling:
            self._leave_prefill()
        member.num_running -= 1
        member.running_tokens -= self.uncached_tokens
        if member.siblings is not None:
            member.siblings.changed(member.id)

    def prefill_done(self, now: float) -> None:
        """The first token of the answer has come: its prefill no longer stands before others."""
        member = self.member
        if self in member.prefilling:
            self._leave_prefill()
            member.prefill_ended_at = now
            if member.prefilling or member.elsewhere.pending_tokens:
                self.is_alone = False
            if member.siblings is not None:
                member.siblings.changed(member.id)

    def keep(self, response_id: str) -> None:
        """The replica keeps this answer under `response_id`, for as long as it lives."""
        member = self.member
        self._held.put(response_id, Holder(member.id, member.life))
        if member.siblings is not None:
            member.siblings.kept(response_id, member.id)

    def _leave_prefill(self) -> None:
        self.member.prefilling_tokens -= self.member.prefilling.pop(self)
