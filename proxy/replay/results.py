"""What was seen of the calls of one run, and what it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import msgspec

from turnwise.proxy.replay.trace import TraceCall


class ReplayError(Exception):
    """A call of the trace failed, so that the run says nothing."""


class CallResult(msgspec.Struct, frozen=True):
    """One call as its client saw it; times in seconds, `arrived_s` since the run began."""

    call: TraceCall
    arrived_s: float
    first_token_s: float
    """From its arrival."""
    ended_s: float
    """From its arrival."""
    prompt_tokens: int
    cached_tokens: int
    replica: str

    @classmethod
    def of_line(cls, line: Mapping[str, Any], call: TraceCall, *, arrived_s: float) -> CallResult:
        """Read the proxy's line on the call."""
        usage = line["usage"]
        return cls(
            call=call,
            arrived_s=arrived_s,
            first_token_s=line["first_token_ms"] / 1000,
            ended_s=line["ended_ms"] / 1000,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens or 0,
            replica=line["replica"],
        )


class Summary(msgspec.Struct, frozen=True):
    """One run of one policy."""

    policy: str
    num_calls: int
    hit_ratio: float
    """Cached prompt tokens over all prompt tokens."""
    first_token_mean_s: float
    first_token_p50_s: float
    first_token_p99_s: float
    imbalance: float
    """Prompt tokens of the replica with most, over the mean of all replicas."""
    span_s: float
    """From the first arrival to the last answer's end, on the clock of the run."""
    wall_s: float


def summarize(policy: str, results: Sequence[CallResult], *, num_replicas: int, wall_s: float) -> Summary:
    """Reduce one run of at least one call."""
    waits = sorted(result.first_token_s for result in results)
    tokens: Counter[str] = Counter()
    for result in results:
        tokens[result.replica] += result.prompt_tokens
    total = tokens.total()
    return Summary(
        policy=policy,
        num_calls=len(results),
        hit_ratio=sum(result.cached_tokens for result in results) / total,
        first_token_mean_s=fmean(waits),
        first_token_p50_s=_quantile(waits, 0.5),
        first_token_p99_s=_quantile(waits, 0.99),
        imbalance=max(tokens.values()) * num_replicas / total,
        span_s=max(result.arrived_s + result.ended_s for result in results) - min(result.arrived_s for result in results),
        wall_s=wall_s,
    )


def _quantile(ascending: Sequence[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))]
