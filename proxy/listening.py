"""Who hears of calls and programs as they end, put together: their metrics, their traces, and what engines tell of the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

from aiohttp import web
from prometheus_client.registry import Collector

from turnwise.proxy.admin import engine_traces
from turnwise.proxy.export import otlp
from turnwise.proxy.export.otlp.courier import Courier
from turnwise.proxy.export.otlp.engines import EngineSpans
from turnwise.proxy.export.otlp.figures import EngineFigures, ExportFigures
from turnwise.proxy.export.programs import ProgramFigures, ProgramTotals
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import ProgramListener
from turnwise.proxy.programs import Programs
from turnwise.settings import Settings


class Listening:
    """Who hears of programs, and whose figures are shown; nobody where programs are not told apart."""

    def __init__(
        self,
        listeners: Sequence[ProgramListener] = (),
        figures: Sequence[Collector] = (),
        engines: EngineSpans | None = None,
        courier: Courier | None = None,
    ) -> None:
        self.listeners = listeners
        self._figures = figures
        self._engines = engines
        self._courier = courier

    @classmethod
    def of(
        cls,
        settings: Settings,
        environ: Mapping[str, str],
        programs: Programs | None,
        clock: Callable[[], float],
        worker: int | None = None,
    ) -> Self:
        """Build what the settings and the variables of OpenTelemetry ask for; raises `SettingsError` as `otlp.check` does.

        `worker` is the number of this process among several, None where it is the only one.
        """
        if programs is None:
            return cls()
        totals = ProgramTotals(settings.programs)
        courier = otlp.make_courier(settings, environ, clock, worker)
        engines = EngineSpans(programs.engine_times, None if courier is None else courier.forward)
        figures = (totals, ProgramFigures(programs), EngineFigures(engines))
        if courier is None:
            return cls((totals, engines), figures, engines)
        return cls((totals, engines, courier), (*figures, ExportFigures(courier)), engines, courier)

    def show(self, metrics: Metrics, application: web.Application, tell_calls: Callable[[], None]) -> None:
        """Add the figures to a page of metrics, and the engines' door to the admin API; `tell_calls` is the recorder's."""
        for figures in self._figures:
            metrics.watch(figures)
        if self._engines is not None:
            engine_traces.add_route(application, self._engines, tell_calls)

    def start(self) -> None:
        """Begin to send spans."""
        if self._courier is not None:
            self._courier.start()

    async def stop(self) -> None:
        """Send the spans that wait, within `traces.flush_timeout_s`."""
        if self._courier is not None:
            await self._courier.stop()
