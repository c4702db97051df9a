"""What is out of the ordinary with a replica's KV, as a closed list: found in one place, shown everywhere. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from turnwise.index import ReplicaStats
from turnwise.proxy.export.calls import Answered
from turnwise.proxy.following import Loss
from turnwise.proxy.member import Member

MIN_CALLS = 20
"""Answered calls after which something that none of them had is said to be absent."""

RESTARTED_S = 60.0
"""How long a restart is shown."""


class State(StrEnum):
    """One thing that is out of the ordinary with what is known of a replica; none of them fails a call."""

    NO_EVENTS = "no_events"
    SEVERAL_RANKS = "several_ranks"
    CONNECTING = "connecting"
    STALE = "stale"
    RESTORED = "restored"
    RESTARTED = "restarted"
    RESTARTED_SILENTLY = "restarted_silently"
    NO_REPLAY = "no_replay"
    STARTED_LATE = "started_late"
    EVENTS_LOST = "events_lost"
    NO_STAMPS = "no_stamps"
    NO_USAGE = "no_usage"
    NO_CACHED_TOKENS = "no_cached_tokens"
    MISSING_HEADS = "missing_heads"
    NONSENSE_EVENTS = "nonsense_events"
    DISTRUSTED_SOURCE = "distrusted_source"
    LAST_BLOCK_DROPPED = "last_block_dropped"
    PREDICTED_ONLY = "predicted_only"
    SPLIT_DOMAIN = "split_domain"


class Explained(msgspec.Struct, frozen=True):
    """A state in three sentences."""

    means: str
    does: str
    """What the proxy does."""
    remedy: str
    """What an operator can do."""


EXPLAINED = {
    State.NO_EVENTS: Explained(
        "The replica publishes no KV events, or nobody listens: events are off for it, or the policy has no use for them.",
        "What it holds is predicted from placements and corrected by the cached tokens it reports.",
        "Start the engine with --kv-events-config (see `turnwise doctor`); leave `events` at auto, `policy.name` at kv_aware.",
    ),
    State.SEVERAL_RANKS: Explained(
        "The replica has several data-parallel ranks, and the engine chooses the rank of a call.",
        "What it holds is predicted, for the blocks of one rank are of no use to a call of another.",
        "Run each rank as a replica of its own, with its own port.",
    ),
    State.CONNECTING: Explained(
        "Its KV events have not been heard yet.",
        "What it holds is predicted until they are.",
        "Nothing; if it stays, check that the events endpoint can be reached from here.",
    ),
    State.STALE: Explained(
        "Its KV events cannot be heard now.",
        "What was heard is set aside, predictions serve at a lower weight, and the connection is tried every second.",
        "Check that the replica is alive and that its events endpoint can be reached from here.",
    ),
    State.RESTORED: Explained(
        "What is known of it comes from the state file of an earlier run.",
        "It is not used until the engine's own event sequence agrees with it, and dropped where that does not.",
        "Nothing; if it stays, check that the events endpoint can be reached from here.",
    ),
    State.RESTARTED: Explained(
        "Its engine restarted within the last minute.",
        "All that was known of its cache is dropped and it is learned anew.",
        "Nothing, if the restart was meant.",
    ),
    State.RESTARTED_SILENTLY: Explained(
        "Its cache was found empty within the last minute though nothing had told: its engine restarted, or cleared it.",
        "What was sent there before counts for nothing, and it is learned anew.",
        "Nothing, if it was meant; KV events (--kv-events-config) would tell at once.",
    ),
    State.NO_REPLAY: Explained(
        "Its engine gave no replay of past KV events.",
        "Its cache is known from the moment of connection on, and a gap in its events drops what was known.",
        "Set replay_endpoint in --kv-events-config, and let it be reached from here.",
    ),
    State.STARTED_LATE: Explained(
        "Its engine had dropped its first KV events from the replay buffer before it was heard.",
        "Blocks stored before that are unknown: a miss where there may be a hit, never the other way round.",
        "Nothing; they go as the cache turns over. To know more next time raise buffer_steps, or set index.state_file.",
    ),
    State.EVENTS_LOST: Explained(
        "Some of its KV events were lost or could not be read, and replay could not give them again.",
        "What was known of it was dropped, for a lost removal would be a false hit; it is known from there on.",
        "Raise buffer_steps in --kv-events-config; see why the proxy could not keep up, was cut off, or could not read them.",
    ),
    State.NO_STAMPS: Explained(
        "KV events come, but none bears the id of a call of ours.",
        "Events teach no prompt; what it holds is predicted and corrected by the cached tokens it reports.",
        "Use vLLM 0.32 or later, leave `stamp` and `edits.session_stamp` on, and let clients send no `session_id` in bodies.",
    ),
    State.NO_USAGE: Explained(
        "Its answers carry no token counts.",
        "Prompts are taught by their chains alone, cut at an estimate of their length.",
        "Leave `edits.include_usage` on, and let nothing between here and the engine strip `usage`.",
    ),
    State.NO_CACHED_TOKENS: Explained(
        "Its answers do not say how many prompt tokens were cached.",
        "Predictions are not checked against what the engine found.",
        "Start the engine with --enable-prompt-tokens-details.",
    ),
    State.MISSING_HEADS: Explained(
        "It holds beginnings of prompts of which nobody has heard the blocks.",
        "The next call of such a prompt asks for a full report, at most three times; until then what it holds is predicted.",
        "Nothing; to know more at the start set replay_endpoint in --kv-events-config, or index.state_file.",
    ),
    State.NONSENSE_EVENTS: Explained(
        "Some of its KV events could not be read, or cannot be true.",
        "They are left out and counted; where one may have been a removal, what was known of the replica was dropped.",
        "See turnwise_feed_events_dropped_total and the log, and make sure that the events endpoint is this engine's own.",
    ),
    State.DISTRUSTED_SOURCE: Explained(
        "What was believed of it by its events, or by placements, was lately not there when its engine looked.",
        "Hits by that source count for less, until its claims are borne out again.",
        "See the trust and accuracy of `turnwise replicas`, and make sure that the events endpoint is this engine's own.",
    ),
    State.LAST_BLOCK_DROPPED: Explained(
        "Its engine computes the last block of every hit anew, as vLLM does for speculative decoding by EAGLE or MTP heads.",
        "Its hits count a block less.",
        "Nothing: the engine is made so.",
    ),
    State.PREDICTED_ONLY: Explained(
        "Its cache has several groups or a kind other than full attention, such as a sliding window.",
        "Block chains do not tell what it can reuse, so what it holds is predicted.",
        "Nothing: the model is made so.",
    ),
    State.SPLIT_DOMAIN: Explained(
        "It hashed a prompt that others know otherwise than they did.",
        "It has a hash domain of its own and learns every prompt by itself.",
        "Give all replicas the same PYTHONHASHSEED, hash algorithm, block size and LoRA paths.",
    ),
}
"""Every state."""

_BY_LOSS = {Loss.NO_REPLAY: State.NO_REPLAY, Loss.STARTED_LATE: State.STARTED_LATE, Loss.GAP: State.EVENTS_LOST}


def replica_states(member: Member, cache: ReplicaStats | None, answered: Answered, now: float) -> tuple[State, ...]:
    """The states that a replica is in, in the order of `State`; empty where all is well.

    `cache` is what the index says of it, None where that does not know it; `answered` is what its calls said since the start.
    """
    found = set(_of_feed(member, now))
    if cache is not None:
        found.update(_of_cache(cache, now))
    calls = answered.since(member.following.answered_before)
    if calls.num_calls >= MIN_CALLS:
        if not calls.num_usages:
            found.add(State.NO_USAGE)
        elif not calls.num_cached:
            found.add(State.NO_CACHED_TOKENS)
        if member.feed in {"live", "partial"} and member.following.num_stored_unstamped >= MIN_CALLS:
            found.add(State.NO_STAMPS)
    return tuple(state for state in State if state in found)


def _of_feed(member: Member, now: float) -> list[State]:
    following = member.following
    if member.facts is None:
        return []
    found: list[State] = []
    if member.feed == "none":
        found.append(State.SEVERAL_RANKS if following.has_several_ranks else State.NO_EVENTS)
    elif member.feed == "connecting":
        found.append(State.RESTORED if following.is_restored else State.CONNECTING)
    elif member.feed == "stale":
        found.append(State.STALE)
    if following.loss is not None:
        found.append(_BY_LOSS[following.loss])
    if following.num_nonsense:
        found.append(State.NONSENSE_EVENTS)
    if following.restarted_at is not None and now - following.restarted_at <= RESTARTED_S:
        found.append(State.RESTARTED)
    return found


def _of_cache(cache: ReplicaStats, now: float) -> list[State]:
    found: list[State] = []
    if cache.emptied_at is not None and now - cache.emptied_at <= RESTARTED_S:
        found.append(State.RESTARTED_SILENTLY)
    if cache.drops_last_block:
        found.append(State.LAST_BLOCK_DROPPED)
    if cache.is_predicted_only:
        found.append(State.PREDICTED_ONLY)
    if cache.complaint:
        found.append(State.DISTRUSTED_SOURCE)
    if cache.num_headless:
        found.append(State.MISSING_HEADS)
    if cache.is_split:
        found.append(State.SPLIT_DOMAIN)
    return found
