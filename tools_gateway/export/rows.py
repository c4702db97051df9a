"""The page of tools, made when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping

from turnwise.tools_gateway.export.meter import JOINED, UNCLAIMED, ToolCounts
from turnwise.tools_gateway.export.page import SessionRow, ToolRow, ToolsPage
from turnwise.tools_gateway.export.sources import Sources
from turnwise.tools_gateway.messages import How
from turnwise.tools_gateway.values import Load, Tool, ToolKey


def tools_page(sources: Sources) -> ToolsPage:
    """Everything that is known now."""
    loads = sources.loads.loads()
    return ToolsPage(
        tools=[_row(sources, tool, loads) for tool in sources.tools()],
        sessions=[
            SessionRow(
                upstream=session.upstream,
                credential=session.credential,
                state=session.state.value,
                era=session.era,
                num_dials=session.num_dials,
                num_faults=session.num_faults,
                in_flight=session.in_flight,
                last_fault=session.last_fault,
                next_dial_s=session.next_dial_s,
            )
            for session in sources.sessions()
        ],
        announcements={end.value: num for end, num in sources.meter.announcements.items()},
        memory_bytes=sources.loads.memory_bytes(),
        audit_failures=sources.audit_failures(),
        complaints=sources.complaints(),
    )


def _row(sources: Sources, tool: Tool, loads: Mapping[ToolKey, Load]) -> ToolRow:
    times = sources.table.told(tool.key)
    forecast = sources.table.forecast(tool.key, 0) if times is None else times.forecast
    counts = sources.meter.counts(tool.name) or ToolCounts()
    load = loads.get(tool.key, Load())
    return ToolRow(
        name=tool.name,
        upstream=tool.key.upstream,
        state=tool.state,
        why=tool.why,
        marks=tool.marks,
        p10_s=forecast.p10_s,
        p50_s=forecast.p50_s,
        p90_s=forecast.p90_s,
        p99_s=forecast.p99_s,
        num_samples=forecast.num_samples,
        success=forecast.success,
        error_p50_s=times.error.p50_s if times is not None and times.error is not None else None,
        running=load.running,
        queued=load.queued,
        calls=counts.num_calls,
        shared=counts.num(How.SHARED),
        remembered=counts.num(How.REMEMBERED),
        joined=counts.early[JOINED],
        unclaimed=counts.early[UNCLAIMED],
        void={why: num for why, num in counts.early.items() if why not in {JOINED, UNCLAIMED}},
        not_early=counts.not_early,
        run_s=counts.runs.total,
        saved_s=counts.saved_s,
        last_fault="" if counts.last_fault is None else counts.last_fault.value,
        last_fault_age_s=None if counts.last_fault is None else max(0.0, sources.clock() - counts.last_fault_at),
    )
