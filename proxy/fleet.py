"""The replica set: who is there, how busy, and what each call books on it. The only mutable state that placement reads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from statistics import fmean
from types import TracebackType
from typing import Self

from turnwise.errors import ClientFault, Overloaded, Reason
from turnwise.events import LoadReport, ReplicaFacts
from turnwise.index import KvIndex
from turnwise.proxy.held import HeldState, Holder, lost
from turnwise.proxy.policy.calibrate import decayed, learned_rate
from turnwise.proxy.wire.ports import Origin
from turnwise.settings import PolicySettings, Replica, Settings
from turnwise.types import FleetView, Hit, Outcome, Placement, ReplicaId, ReplicaView, Request

MAX_QUOTED_CHARS = 100
"""Of a model's name in a message: a name may be as large as a body."""

FEED_STATES = ("none", "connecting", "live", "partial", "stale")
"""What the event feed of a replica can be: absent, not yet heard, whole, without what was stored before it, or broken."""

STEP_TOKENS = 4096
"""Prompt tokens of one engine step, about; docs/decisions/0003 says why and what other figures did."""


class Member:
    """One replica as the fleet keeps it; written by discovery, the feed and leases, read through views."""

    def __init__(self, replica: Replica, policy: PolicySettings) -> None:
        self.id = ReplicaId(replica.name)
        self.settings = replica
        self.origin = Origin.of(replica.url)
        self.facts: ReplicaFacts | None = None
        """None until discovery has reached it once."""
        self.load: LoadReport | None = None
        """What it last said of itself."""
        self.is_healthy = False
        self.is_draining = False
        self.life = 0
        """Counts its starts, as far as they were noticed; what it held in an earlier life is gone."""
        self.feed = "none"
        """One of `FEED_STATES`."""
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
        self._open_until = 0.0
        self._recent_s = 0.0
        self._recent_at = 0.0
        self._policy = policy

    def serves(self, model: str | None) -> bool:
        """Whether a call for `model` may be sent here (None: any model will do)."""
        return self.facts is not None and (model is None or model in self.facts.models)

    def is_routable(self, now: float) -> bool:
        """Whether new calls should be sent here."""
        return self.is_healthy and not self.is_draining and now >= self._open_until

    def open_breaker(self, until: float) -> None:
        """Send no new calls here before `until`, unless nobody else is left."""
        self._open_until = until

    def recent_assigned_s(self, now: float) -> float:
        """Predicted seconds assigned here lately, decayed to `now`."""
        return decayed(self._recent_s, elapsed_s=now - self._recent_at, half_life_s=self._policy.recent_half_life_s)

    def assign(self, seconds: float, now: float) -> None:
        """Add predicted seconds of a new call."""
        self._recent_s = self.recent_assigned_s(now) + seconds
        self._recent_at = now

    def pending_prefill_tokens(self, now: float, tokens_per_s: float) -> float:
        """Uncached tokens booked here and not computed by `now`: of the oldest call, those that it had time for are done.

        Its last step counts whole, for whoever comes in the midst of a step waits for its end.
        """
        if not self.prefilling:
            return 0.0
        oldest, tokens = next(iter(self.prefilling.items()))
        began_at = max(oldest.booked_at, self.prefill_ended_at)
        done_tokens = min(tokens - STEP_TOKENS, (now - began_at) * tokens_per_s)
        return self.prefilling_tokens - max(0.0, done_tokens)

    @property
    def capacity_tokens(self) -> int | None:
        """Tokens of KV that the replica says it has room for."""
        if self.facts is None or self.facts.load.num_blocks is None or self.facts.load.block_size is None:
            return None
        return self.facts.load.num_blocks * self.facts.load.block_size


class Lease:
    """What one attempt holds of its replica; leaving the `with` gives all of it back, whatever happened."""

    def __init__(self, member: Member, placement: Placement, now: float, *, pending_tokens: float, held: HeldState) -> None:
        self.member = member
        self._held = held
        self.placement = placement
        self.booked_at = now
        self.work_tokens = pending_tokens + placement.uncached_tokens
        """Uncached tokens that the replica computes before this call's first token: those ahead of it and its own."""

    def __enter__(self) -> Self:
        self.member.num_running += 1
        self.member.running_tokens += self.placement.uncached_tokens
        self.member.prefilling[self] = self.placement.uncached_tokens
        self.member.prefilling_tokens += self.placement.uncached_tokens
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._leave_prefill()
        self.member.num_running -= 1
        self.member.running_tokens -= self.placement.uncached_tokens

    def prefill_done(self, now: float) -> None:
        """The first token of the answer has come: its prefill no longer stands before others."""
        if self._leave_prefill():
            self.member.prefill_ended_at = now

    def keep(self, response_id: str) -> None:
        """The replica keeps this answer under `response_id`, for as long as it lives."""
        self._held.put(response_id, Holder(self.member.id, self.member.life))

    def _leave_prefill(self) -> bool:
        tokens = self.member.prefilling.pop(self, None)
        self.member.prefilling_tokens -= tokens or 0
        return tokens is not None


class Fleet:
    """All replicas, in the order of the settings."""

    def __init__(self, settings: Settings, index: KvIndex) -> None:
        self.members = {ReplicaId(replica.name): Member(replica, settings.policy) for replica in settings.replicas}
        self.held = HeldState(settings.fleet.max_held_responses)
        self._settings = settings
        self._index = index
        self._num_placements = 0

    def view(self, request: Request, *, exclude: Collection[ReplicaId], now: float) -> FleetView:
        """Freeze the replicas that may serve `request`.

        Raises `ClientFault` (404) where no replica serves its model, or where what it continues is not held any more;
        `Overloaded` where none of those that serve it can take it.
        """
        members = [self._holder(request, exclude)] if request.continues else self._candidates(request.model, exclude, now)
        residency = self._index.residency(request.chain, [member.id for member in members], now)
        return FleetView(
            replicas=tuple(self._view_of(member, residency.hits[member.id], now) for member in members),
            prompt_tokens=residency.prompt_tokens,
            is_taught=residency.is_taught,
            turn=self._num_placements,
        )

    def _view_of(self, member: Member, hit: Hit, now: float) -> ReplicaView:
        rate, capacity = self.prefill_tokens_per_s(member), member.capacity_tokens
        return ReplicaView(
            id=member.id,
            hit=hit,
            num_running=member.num_running,
            pending_prefill_tokens=member.pending_prefill_tokens(now, rate),
            recent_assigned_s=member.recent_assigned_s(now),
            prefill_tokens_per_s=rate,
            decode_s_per_call=self._settings.policy.decode_s_per_call,
            free_tokens=None if capacity is None else capacity - member.running_tokens,
        )

    def book(self, request: Request, placement: Placement, now: float) -> Lease:
        """Count the load and predict the residency of a placement at once, so that the next decision sees both."""
        member = self.members[placement.replica]
        rate = self.prefill_tokens_per_s(member)
        self._num_placements += 1
        member.assign(placement.uncached_tokens / rate + self._settings.policy.decode_s_per_call, now)
        if request.chain is not None:
            self._index.book(request.chain, member.id, placement.prompt_tokens, now)
        return Lease(member, placement, now, pending_tokens=member.pending_prefill_tokens(now, rate), held=self.held)

    def refused(self, replica: ReplicaId, now: float) -> None:
        """Note that `replica` failed a call before answering: others are preferred for a while."""
        self.members[replica].open_breaker(now + self._settings.fleet.breaker_open_s)

    def learn(self, outcome: Outcome, work_tokens: float) -> None:
        """Learn the replica's speed from a call that got its first token."""
        usage, first_token_at = outcome.usage, outcome.first_token_at
        is_timed = outcome.request.is_stream  # an answer in one piece comes when decoding ends, not when prefill does
        if not is_timed or usage is None or usage.cached_tokens is None or first_token_at is None:
            return
        member = self.members[outcome.placement.replica]
        surprise = (usage.prompt_tokens - usage.cached_tokens) - outcome.placement.uncached_tokens
        learned = learned_rate(
            self.prefill_tokens_per_s(member),
            work_tokens=work_tokens + surprise,
            first_token_s=first_token_at - outcome.booked_at,
        )
        if learned is not None:
            member.learned_tokens_per_s = learned

    def prefill_tokens_per_s(self, member: Member) -> float:
        """Prefill speed to expect of a replica: its own if learned, else what the others have shown, else the setting.

        A replica that has had no call must not look slower than those that have, or it would never get one.
        """
        if member.learned_tokens_per_s is not None:
            return member.learned_tokens_per_s
        others = [other.learned_tokens_per_s for other in self.members.values() if other.learned_tokens_per_s is not None]
        return fmean(others) if others else self._settings.policy.prefill_tokens_per_s

    def pending_prefill_tokens(self, member: Member, now: float) -> float:
        """Uncached tokens that a replica has yet to compute, at the speed expected of it."""
        return member.pending_prefill_tokens(now, self.prefill_tokens_per_s(member))

    def models(self) -> dict[str, int | None]:
        """Models that a replica in health serves, in the order of the fleet, with the longest prompt that any of them takes."""
        lengths: dict[str, int | None] = {}
        for member in self.members.values():
            if member.is_healthy and member.facts is not None:
                for name in member.facts.models:
                    known = [length for length in (lengths.get(name), member.facts.max_model_len) if length is not None]
                    lengths[name] = max(known, default=None)
        return lengths

    def is_ready(self) -> bool:
        """Whether some replica can take calls."""
        return any(member.is_healthy and not member.is_draining for member in self.members.values())

    def _holder(self, request: Request, exclude: Collection[ReplicaId]) -> Member:
        """The one replica that keeps what `request` continues; an open breaker does not count, for there is no other."""
        holder = self.held.holder(request)
        member = self.members.get(holder.replica)
        if member is None:
            raise lost(request, holder.replica, "has left the fleet")
        if member.life != holder.life:
            raise lost(request, holder.replica, "has restarted since")
        if not member.is_healthy or member.is_draining or member.id in exclude:
            raise lost(request, holder.replica, f"is gone ({_state(member, exclude)})")
        return member

    def _candidates(self, model: str | None, exclude: Collection[ReplicaId], now: float) -> list[Member]:
        known = [member for member in self.members.values() if member.serves(model)]
        if not known:
            self._raise_unserved(model)
        healthy = [member for member in known if member.is_healthy and not member.is_draining and member.id not in exclude]
        routable = [member for member in healthy if member.is_routable(now)]
        # With every breaker open, trying is better than refusing: the last refusal may be over.
        chosen = routable or healthy
        if not chosen:
            raise Overloaded(f"no replica that serves {_quoted(model)} can take calls now ({_why(known, exclude)})")
        return chosen

    def _raise_unserved(self, model: str | None) -> None:
        unknown = [member.id for member in self.members.values() if member.facts is None]
        served = ", ".join(self.models()) or "none"
        if unknown or model is None:
            waits = f"not reached yet: {', '.join(unknown) or 'none, the fleet is empty'}"
            raise Overloaded(f"no replica is known to serve {_quoted(model)} ({waits}; served: {served})")
        raise ClientFault(
            f"The model {_quoted(model)} does not exist; the fleet serves: {served}",
            reason=Reason.UNKNOWN_MODEL,
            status=404,
            param="model",
        )


def _quoted(model: str | None) -> str:
    if model is None:
        return "any model"
    return f"`{model}`" if len(model) <= MAX_QUOTED_CHARS else f"`{model[:MAX_QUOTED_CHARS]}...`"


def _why(members: Iterable[Member], exclude: Collection[ReplicaId]) -> str:
    return ", ".join(f"{member.id}: {_state(member, exclude)}" for member in members)


def _state(member: Member, exclude: Collection[ReplicaId]) -> str:
    if member.id in exclude:
        return "just failed"
    return "draining" if member.is_draining else "not answering"
