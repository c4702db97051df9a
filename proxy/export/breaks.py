"""What the linter found and holds, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.families import counter, gauge
from turnwise.proxy.lint import Cause, Finding, Linter


class BreakTotals(Collector):
    """Findings and the tokens that they cost, by cause; a series begins with the first finding."""

    def __init__(self) -> None:
        self._counts: dict[Cause, int] = {}
        self._tokens: dict[Cause, int] = {}

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        cause = finding.cause
        self._counts[cause] = self._counts.get(cause, 0) + 1
        self._tokens[cause] = self._tokens.get(cause, 0) + finding.tokens_lost

    def collect(self) -> Iterator[Family]:
        """Both families as they stand."""
        yield counter(names.PREFIX_BREAKS, {(cause.value,): count for cause, count in self._counts.items()})
        yield counter(names.PREFIX_LOST_TOKENS, {(cause.value,): tokens for cause, tokens in self._tokens.items()})


class LinterFigures(Collector):
    """What the linter holds when somebody scrapes."""

    def __init__(self, linter: Linter) -> None:
        self._linter = linter

    def collect(self) -> Iterator[Family]:
        """Read all of it once."""
        stats = self._linter.stats
        yield gauge(names.LINT_BYTES, {(): stats.num_bytes})
        yield gauge(names.LINT_PROMPTS, {(): stats.num_prompts})
        yield counter(names.LINT_TOO_LARGE, {(): stats.num_too_large})
