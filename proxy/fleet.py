"""The replica set: who is there, how busy, and what each call books on it. The only mutable state that placement reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from statistics import fmean

from turnwise.errors import ClientFault, Overloaded, Reason
from turnwise.index import KvIndex
from turnwise.proxy.held import HeldState, lost
from turnwise.proxy.member import Lease, Member
from turnwise.proxy.policy.calibrate import learned_rate
from turnwise.proxy.workers.ports import Booking, Siblings
from turnwise.settings import Settings
from turnwise.types import FleetView, Hit, Outcome, Placement, ReplicaId, Request

MAX_SURPRISE_TOKENS = 64
"""How far a hit may have been off for its call to tell what bringing it up took: engines count whole blocks."""

_ID = attrgetter("id")

MAX_QUOTED_CHARS = 100
"""Of a model's name in a message: a name may be as large as a body."""


class Fleet:
    """All replicas, in the order of the settings; `siblings` hear of what calls do here, None where there are none."""

    def __init__(self, settings: Settings, index: KvIndex, siblings: Siblings | None = None) -> None:
        self._serving: dict[str | None, tuple[Member, ...]] = {}
        """Members in health that take calls for a model; looked up anew after any of them has changed."""
        self.members = {
            ReplicaId(replica.name): Member(replica, settings.policy, siblings, self._serving.clear)
            for replica in settings.replicas
        }
        self.held = HeldState(settings.fleet.max_held_responses)
        self.siblings = siblings
        self._settings = settings
        self._index = index
        self._resyncs = settings.edits.resync and settings.edits.session_stamp
        self._num_placements = 0
        self._breakers_until = 0.0
        """When the last breaker closes."""
        self._expected_tokens_per_s = settings.policy.prefill_tokens_per_s
        self._learned_tokens_per_s: dict[ReplicaId, float] = {}

    def view(self, request: Request, *, exclude: Collection[ReplicaId], now: float) -> FleetView:
        """Freeze the replicas that may serve `request`.

        Raises `ClientFault` (404) where no replica serves its model, or where what it continues is not held any more;
        `Overloaded` where none of those that serve it can take it.
        """
        members = (self._holder(request, exclude),) if request.continues else self._candidates(request.model, exclude, now)
        residency = self._index.residency(request.chain, tuple(map(_ID, members)), now)
        hits, rate = residency.hits, self._expected_tokens_per_s
        return FleetView(
            tuple([member.view(hits[member.id], now, rate) for member in members]),
            residency.prompt_tokens,
            residency.is_taught,
            self._num_placements,
            residency.computed_tokens,
            now,
        )

    def book(self, request: Request, placement: Placement, now: float) -> Lease:
        """Count the load and predict the residency of a placement at once, so that the next decision sees both."""
        member = self.members[placement.replica]
        rate = self.prefill_tokens_per_s(member)
        self._num_placements += 1
        chain = request.chain
        # Events tell what a prompt's blocks are only where they bear the stamp of its call.
        asks = (
            self._resyncs and member.settings.stamp and not request.asks_report and self._index.wants_report(chain, member.id)
        )
        lease = Lease(member, placement, now, member.pending_prefill_tokens(now, rate), self.held, asks_report=asks)
        assigned_s = lease.uncached_tokens / rate + self._settings.policy.decode_s_per_call + placement.terms.transfer_s
        member.assign(assigned_s, lease.uncached_tokens, now)
        tokens, reports = placement.prompt_tokens, asks or request.asks_report
        if chain is not None:
            self._index.book(request.call_id, chain, member.id, tokens, now, predicted=placement.hit, reports=reports)
        if self.siblings is not None:
            self.siblings.booked(Booking(request.call_id, chain, member.id, tokens, lease.uncached_tokens, assigned_s, reports))
        return lease

    def refused(self, replica: ReplicaId, now: float) -> None:
        """Note that `replica` failed a call before answering: others are preferred for a while."""
        self._breakers_until = self.members[replica].open_until = now + self._settings.fleet.breaker_open_s

    def hear_refused(self, member: Member, until: float) -> None:
        """Prefer others to `member` before `until`, as a sibling does, or for as long as was said before."""
        member.open_until = max(member.open_until, until)
        self._breakers_until = max(self._breakers_until, until)

    def learn(self, outcome: Outcome, lease: Lease) -> None:
        """Learn the replica's speeds from a call that got its first token."""
        if not outcome.is_stream:
            return  # an answer in one piece comes when decoding ends, not when prefill does
        usage, first_token_at = outcome.usage, outcome.first_token_at
        if usage is None or usage.cached_tokens is None or first_token_at is None:
            return
        member, hit = lease.member, lease.placement.hit
        surprise = (usage.prompt_tokens - usage.cached_tokens) - lease.uncached_tokens
        work_tokens, first_token_s = lease.work_tokens + surprise, first_token_at - outcome.booked_at
        if hit.dram_tokens or hit.disk_tokens:  # it waited for blocks to be brought up as well
            if lease.is_alone and abs(surprise) <= MAX_SURPRISE_TOKENS:
                self._learn_loading(member, hit, work_tokens, first_token_s)
            return
        if lease.is_alone:
            member.loading.note_plain(work_tokens, first_token_s)
        rate = self.prefill_tokens_per_s(member)
        learned = learned_rate(rate, work_tokens=work_tokens, first_token_s=first_token_s)
        if learned is not None:
            self.believe_speed(member, learned)
            if self.siblings is not None:
                self.siblings.learned(member.id, learned)

    def _learn_loading(self, member: Member, hit: Hit, work_tokens: float, first_token_s: float) -> None:
        told = member.loading.sample(hit, work_tokens, first_token_s)
        if told is not None:
            member.loading.learn(*told)
            if self.siblings is not None:
                self.siblings.loaded(member.id, *told)

    def believe_speed(self, member: Member, tokens_per_s: float) -> None:
        """Expect this prefill speed of `member` from now on, and the mean of all that are known of those without one."""
        member.learned_tokens_per_s = self._learned_tokens_per_s[member.id] = tokens_per_s
        self._expected_tokens_per_s = fmean(self._learned_tokens_per_s.values())

    def prefill_tokens_per_s(self, member: Member) -> float:
        """Prefill speed to expect of a replica: its own if learned, else what the others have shown, else the setting.

        A replica that has had no call must not look slower than those that have, or it would never get one.
        """
        learned = member.learned_tokens_per_s
        return self._expected_tokens_per_s if learned is None else learned

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

    def _candidates(self, model: str | None, exclude: Collection[ReplicaId], now: float) -> Sequence[Member]:
        healthy: Sequence[Member] = self._serving.get(model) or self._look_up(model)
        if exclude:
            healthy = [member for member in healthy if member.id not in exclude]
        if not healthy:
            self._raise_unserved(model, exclude)
        if now >= self._breakers_until:
            return healthy
        # With every breaker open, trying is better than refusing: the last refusal may be over.
        return [member for member in healthy if now >= member.open_until] or healthy

    def _look_up(self, model: str | None) -> tuple[Member, ...]:
        """Members in health that take calls for a model; none is remembered of a model that nobody serves."""
        found = tuple(
            [
                member
                for member in self.members.values()
                if member.is_healthy and not member.is_draining and member.serves(model)
            ]
        )
        if found:
            self._serving[model] = found
        return found

    def _raise_unserved(self, model: str | None, exclude: Collection[ReplicaId]) -> None:
        known = [member for member in self.members.values() if member.serves(model)]
        if known:
            raise Overloaded(f"no replica that serves {_quoted(model)} can take calls now ({_why(known, exclude)})")
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
