"""What ended calls add up to: plain numbers while calls run, Prometheus families when somebody scrapes.

A counter of the client library costs 0.6 us for each increment and a histogram 1.5, and a call makes ten of them; here all
of a call's cost one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.buckets import Buckets, histogram
from turnwise.admin.families import counter
from turnwise.types import DialectName, HitSource, Outcome, ReplicaId

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 600.0)
PROXY_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

Labels = TypeVar("Labels", bound=tuple[str, ...])
Number = TypeVar("Number", int, "Buckets")


GENERATING = frozenset({DialectName.CHAT, DialectName.COMPLETIONS, DialectName.MESSAGES, DialectName.RESPONSES})
"""Dialects whose answers say what they cost."""


class Answered(msgspec.Struct, frozen=True, gc=False):
    """How many calls one replica answered, and how many of the answers told of tokens and of cached ones."""

    num_calls: int = 0
    num_usages: int = 0
    num_cached: int = 0

    def since(self, before: Answered) -> Answered:
        """What came after `before`."""
        return Answered(
            self.num_calls - before.num_calls, self.num_usages - before.num_usages, self.num_cached - before.num_cached
        )


class Tally:
    """What the calls of one dialect, replica, status and reason add up to."""

    __slots__ = (
        "cached_tokens",
        "call_seconds",
        "completion_tokens",
        "first_token_seconds",
        "num_cached",
        "num_calls",
        "num_first_tokens",
        "num_usages",
        "predicted_tokens",
        "prompt_tokens",
        "proxy_seconds",
        "tokens_over",
        "tokens_under",
        "unhashed_bytes",
    )

    def __init__(self) -> None:
        self.num_calls = self.unhashed_bytes = 0
        self.call_seconds = Buckets(LATENCY_BUCKETS)
        self.first_token_seconds = Buckets(LATENCY_BUCKETS)
        self.proxy_seconds = Buckets(PROXY_BUCKETS)
        self.num_first_tokens = 0
        self.num_usages = self.prompt_tokens = self.completion_tokens = 0
        self.predicted_tokens: dict[HitSource, int] = {}
        self.num_cached = self.cached_tokens = self.tokens_over = self.tokens_under = 0

    def add(self, outcome: Outcome, trace_id: bytes | None) -> None:
        """Count a call whose last attempt has ended."""
        arrived_at, usage = outcome.arrived_at, outcome.usage
        self.num_calls += 1
        self.unhashed_bytes += outcome.unhashed_bytes
        self.call_seconds.observe(outcome.ended_at - arrived_at, trace_id)
        if outcome.sent_at is not None:
            self.proxy_seconds.observe(outcome.sent_at - arrived_at)
        if outcome.is_stream and outcome.first_token_at is not None:
            self.num_first_tokens += 1
            self.first_token_seconds.observe(outcome.first_token_at - arrived_at, trace_id)
        if usage is None:
            return
        hit = outcome.placement.hit
        self.num_usages += 1
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.predicted_tokens[hit.source] = self.predicted_tokens.get(hit.source, 0) + hit.tokens
        if usage.cached_tokens is not None:
            self.num_cached += 1
            self.cached_tokens += usage.cached_tokens
            error = hit.tokens - usage.cached_tokens
            if error > 0:
                self.tokens_over += error
            else:
                self.tokens_under -= error


class CallTotals(Collector):
    """All that is counted of ended calls; a series begins with the first call that has something to say of it."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[DialectName, ReplicaId, int | None, str], Tally] = {}

    def add(self, outcome: Outcome, trace_id: bytes | None = None) -> None:
        """Count a call whose last attempt has ended; `trace_id` is that of its program, None where it is not traced."""
        key = (outcome.dialect, outcome.placement.replica, outcome.status, outcome.reason)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
        tally.add(outcome, trace_id)

    def answered(self, replica: ReplicaId) -> Answered:
        """What the answers of one replica have told so far."""
        tallies = [
            tally
            for (dialect, name, status, _), tally in self._tallies.items()
            if name == replica and status == 200 and dialect in GENERATING
        ]
        return Answered(
            sum(tally.num_calls for tally in tallies),
            sum(tally.num_usages for tally in tallies),
            sum(tally.num_cached for tally in tallies),
        )

    def collect(self) -> Iterator[Family]:
        """Every family as it stands."""
        calls = {
            (dialect.value, replica, "" if status is None else str(status), reason): tally
            for (dialect, replica, status, reason), tally in self._tallies.items()
        }
        yield counter(names.CALLS, {labels: tally.num_calls for labels, tally in calls.items()})
        dialects = [((dialect,), tally) for (dialect, *_), tally in calls.items()]
        yield counter(names.UNHASHED_BYTES, _sums((labels, tally.unhashed_bytes) for labels, tally in dialects))
        yield histogram(names.CALL_SECONDS, _sums((labels, tally.call_seconds) for labels, tally in dialects))
        streams = [(labels, tally.first_token_seconds) for labels, tally in dialects if tally.num_first_tokens]
        yield histogram(names.FIRST_TOKEN_SECONDS, _sums(streams))
        no_labels: tuple[str, ...] = ()
        proxy = [(no_labels, Buckets(PROXY_BUCKETS)), *((no_labels, tally.proxy_seconds) for tally in calls.values())]
        yield histogram(names.PROXY_SECONDS, _sums(proxy))
        told = [(replica, tally) for (_, replica, *_), tally in calls.items() if tally.num_usages]
        yield counter(names.PROMPT_TOKENS, _sums(((replica,), tally.prompt_tokens) for replica, tally in told))
        yield counter(names.COMPLETION_TOKENS, _sums(((replica,), tally.completion_tokens) for replica, tally in told))
        predicted = (
            ((replica, source.value), tokens) for replica, tally in told for source, tokens in tally.predicted_tokens.items()
        )
        yield counter(names.PREDICTED_TOKENS, _sums(predicted))
        checked = [(replica, tally) for replica, tally in told if tally.num_cached]
        yield counter(names.CACHED_TOKENS, _sums(((replica,), tally.cached_tokens) for replica, tally in checked))
        over = [((replica, "over"), tally.tokens_over) for replica, tally in checked]
        under = [((replica, "under"), tally.tokens_under) for replica, tally in checked]
        yield counter(names.PREDICTION_ERROR_TOKENS, _sums(over + under))


def _sums(values: Iterable[tuple[Labels, Number]]) -> dict[Labels, Number]:
    """The sum of the values with equal labels."""
    sums: dict[Labels, Number] = {}
    for labels, value in values:
        known = sums.get(labels)
        sums[labels] = value if known is None else known + value
    return sums
