"""Telling proxies how far the calls that they announced have come."""

from __future__ import annotations

from collections.abc import Callable

from turnwise.tools_gateway.messages import How, Step, ToolTold, Void
from turnwise.tools_gateway.ports import Forecaster, Listener
from turnwise.tools_gateway.runs.run import Run
from turnwise.tools_gateway.runs.turns import Announcement
from turnwise.tools_gateway.values import Fate


class Teller:
    """Makes what is told; nothing is where nobody listens."""

    def __init__(self, forecaster: Forecaster, clock: Callable[[], float]) -> None:
        self._forecaster = forecaster
        self._clock = clock
        self.listener: Listener | None = None

    def announced(self, announcement: Announcement) -> None:
        """It is known and is being prepared."""
        assert announcement.tool is not None
        forecast = self._forecaster.forecast(announcement.tool.key, 0)
        predicted_s = forecast.p50_s if forecast.num_samples else None
        self._tell(announcement, Step.ANNOUNCED, predicted_s=predicted_s, remaining_s=predicted_s)

    def remembered(self, announcement: Announcement) -> None:
        """An equal call's result served it."""
        announcement.how = How.REMEMBERED
        self._tell(announcement, Step.FINISHED, ended_at=self._clock())

    def refused(self, announcement: Announcement) -> None:
        """The call that took it was refused before anything ran."""
        self._tell(announcement, Step.FINISHED, ended_at=self._clock(), is_ok=False)

    def void(self, announcement: Announcement, why: Void) -> None:
        """Nothing of it is used."""
        if announcement.tool is not None:
            self._tell(announcement, Step.VOID, why=why)

    def follow(self, announcement: Announcement, run: Run) -> None:
        """Tell how far a run is, and each step that it makes from now on."""
        announcement.follow(run, lambda run, step: self.run_told(announcement, run, step))
        self.run_told(announcement, run, run.step)

    def run_told(self, announcement: Announcement, run: Run, step: Step) -> None:
        """Tell one step of a run."""
        now = self._clock()
        remaining_s = None
        if step is not Step.FINISHED:
            elapsed_s = 0.0 if run.started_at is None else now - run.started_at
            call = run.call
            forecast = self._forecaster.forecast(call.tool.key, call.num_bytes, elapsed_s=elapsed_s)
            remaining_s = forecast.p50_s if forecast.num_samples else None
        is_ok = not run.is_over or run.outcome.result().fate is Fate.SUCCESS
        self._tell(
            announcement,
            step,
            queued_at=run.queued_at,
            started_at=run.started_at,
            ended_at=run.ended_at,
            is_ok=is_ok,
            predicted_s=run.predicted_s,
            remaining_s=remaining_s,
        )

    def _tell(
        self,
        announcement: Announcement,
        step: Step,
        *,
        queued_at: float | None = None,
        started_at: float | None = None,
        ended_at: float | None = None,
        is_ok: bool = True,
        predicted_s: float | None = None,
        remaining_s: float | None = None,
        why: Void | None = None,
    ) -> None:
        tool, told = announcement.tool, announcement.told
        if self.listener is None or tool is None:
            return
        self.listener.tool_told(
            announcement.turn.source,
            ToolTold(
                told.turn,
                told.index,
                told.id,
                told.program,
                tool.name,
                step,
                self._clock(),
                announcement.how,
                queued_at,
                started_at,
                ended_at,
                announcement.claimed_at,
                is_ok,
                predicted_s,
                remaining_s,
                why,
            ),
        )
