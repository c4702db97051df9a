"""How tools, upstreams and what was learned of them stand when somebody scrapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from turnwise import names
from turnwise.admin.families import counter, gauge
from turnwise.tools_gateway.export.meter import MAX_TOOLS
from turnwise.tools_gateway.export.sources import Sources


class Gauges(Collector):
    """Read from `Sources`; of `MAX_TOOLS` tools at most."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Family]:
        """Read every gauge once."""
        sources = self._sources
        tools, sessions = sources.tools(), sources.sessions()
        loads = sources.loads.loads()
        told = {tool.name: times for tool in tools[:MAX_TOOLS] if (times := sources.table.told(tool.key)) is not None}
        yield gauge(
            names.TOOL_EXPECTED_SECONDS,
            {
                (name, quantile): seconds
                for name, times in told.items()
                for quantile, seconds in (
                    ("0.5", times.forecast.p50_s),
                    ("0.9", times.forecast.p90_s),
                    ("0.99", times.forecast.p99_s),
                )
            },
        )
        yield gauge(names.TOOL_SUCCESS, {(name,): times.forecast.success for name, times in told.items()})
        busy = {tool.name: loads[tool.key] for tool in tools[:MAX_TOOLS] if tool.key in loads}
        yield gauge(names.TOOL_RUNNING, {(name,): load.running for name, load in busy.items()})
        yield gauge(names.TOOL_QUEUED, {(name,): load.queued for name, load in busy.items()})
        yield gauge(names.TOOL_STATES, Counter((str(tool.key.upstream), tool.state.value) for tool in tools))
        yield gauge(names.TOOL_MEMORY_BYTES, {(): sources.loads.memory_bytes()})
        yield gauge(names.UPSTREAM_SESSIONS, Counter((str(session.upstream), session.state.value) for session in sessions))
        dials: Counter[tuple[str]] = Counter()
        faults: Counter[tuple[str]] = Counter()
        for session in sessions:
            dials[session.upstream,] += session.num_dials
            faults[session.upstream,] += session.num_faults
        yield gauge(names.UPSTREAM_DIALS, dials)
        yield gauge(names.UPSTREAM_FAULTS, faults)
        yield counter(names.AUDIT_FAILURES, {(): sources.audit_failures()})
        yield counter(names.NOTICES_DROPPED, {(): sources.notices_dropped()})
