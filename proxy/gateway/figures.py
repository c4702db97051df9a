"""The link to the tools gateway, and what was told over it, in metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.families import counter, gauge
from turnwise.proxy.dispatch import Dispatch
from turnwise.proxy.gateway.gateway import Gateway


class GatewayFigures(Collector):
    """What is known of the link when somebody scrapes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[Family]:
        """Read all of it once."""
        stats = self._gateway.stats
        yield gauge(names.LINK_LISTENING, {(): int(stats.is_listening)})
        yield counter(names.LINK_TOLD, {(): stats.told})
        yield counter(names.LINK_DROPPED, {(): stats.dropped})
        yield counter(names.LINK_LOST_TURNS, {(): stats.lost_turns})
        yield counter(names.LINK_HEARD, {(): stats.heard})


class DispatchFigures(Collector):
    """What became of the tool calls that models wrote."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def collect(self) -> Iterator[Family]:
        """Read all of it once."""
        drifts = self._dispatch.drifts
        fates = self._dispatch.fates.items()
        yield counter(names.WRITTEN_TOOL_CALLS, {(dialect.value, fate): count for (dialect, fate), count in fates})
        totals = drifts.totals.items()
        yield counter(names.TOOL_CALL_DRIFTS, {(who.engine, who.model, who.dialect.value): count for who, count in totals})
        yield gauge(names.EARLY_OFF, {(who.engine, who.model, who.dialect.value): 1 for who in drifts.off})
