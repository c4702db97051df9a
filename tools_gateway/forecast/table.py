"""How long tools run, by tool and size of arguments; implements `ports.Forecaster`."""

from __future__ import annotations

from collections import OrderedDict
from math import log

import msgspec

from turnwise.tools_gateway.forecast.curve import Curve, log_spread, quantiles
from turnwise.tools_gateway.forecast.prior import ANYTHING, Population, Prior
from turnwise.tools_gateway.forecast.state import TableState
from turnwise.tools_gateway.forecast.tool import ToolRuns
from turnwise.tools_gateway.forecast.window import ENOUGH, SHORTEST_S, Window
from turnwise.tools_gateway.values import Fate, Forecast, ToolKey, UpstreamName

MAX_TOOLS = 2048
"""Tools of which something is known; then those that have not run for longest are forgotten. 4 to 20 KB each."""

MAX_UPSTREAMS = 256

BETWEEN_SIZES = 0.5
"""Standard deviation of the log median of one size of arguments around that of all, where the size has hardly been seen."""

UNUSED_S = 30 * 86400.0
"""Tools that have not run for so long are not read back."""

FIRST = 8
"""Runs of each tool by which those that have not run are guessed."""

TELLING = (Fate.SUCCESS, Fate.TIMEOUT, Fate.CANCELLED)
"""Fates that tell how long a run takes that ends well: the latter two, that it takes longer than that."""


class ToolTimes(msgspec.Struct, frozen=True, gc=False):
    """What is known of one tool, for people."""

    forecast: Forecast
    error: Forecast | None
    """How long it runs where it ends with an error of its own; None where it never did."""
    shares: dict[Fate, float]
    """How its last runs ended; they sum to 1."""
    last_run_at: float
    """On the clock of `observe`."""


class RunTable:
    """Learns from runs, in 5 us, and tells how long the next will take, in 3 or, while a tool is new, 22 (bench.tools).

    A forecast rests on the newest runs of the tool with arguments of that size; where these are few, on the tool's at any size
    too, then on first runs of other tools of its upstream, then of any.
    """

    def __init__(self, *, max_tools: int = MAX_TOOLS) -> None:
        self._max_tools = max_tools
        self._tools: OrderedDict[ToolKey, ToolRuns] = OrderedDict()
        """The one that has not run for longest first."""
        self._upstreams: OrderedDict[UpstreamName, Population] = OrderedDict()
        self._all = Population()
        self.num_observed = 0
        """Runs that it learned from since it was made."""

    @property
    def num_tools(self) -> int:
        """Of which something is known."""
        return len(self._tools)

    def forecast(self, key: ToolKey, argument_bytes: int, *, elapsed_s: float = 0.0) -> Forecast:
        """How long a run will take, or what remains of one that has run for `elapsed_s`."""
        known = self._tools.get(key)
        if known is None:
            return _told(Window().curve(self._prior(key.upstream)), elapsed_s, 0, 1.0)
        window = known.of_size(argument_bytes)
        if len(window) >= ENOUGH:
            curve = window.curve(ANYTHING)
        else:
            curve = known.runs.curve(self._prior(key.upstream))
            if window is not known.runs:
                curve = window.curve(Prior(log(curve.at(0.5)), BETWEEN_SIZES, log_spread(curve)))
        return _told(curve, elapsed_s, len(window), known.success())

    def observe(self, key: ToolKey, argument_bytes: int, seconds: float, fate: Fate, now: float) -> None:
        """Learn from a run; no remembered result, shared run or voided call is one."""
        self.num_observed += 1
        known = self._known(key, now)
        known.last_run_at = now
        known.count(fate)
        if fate is Fate.ERROR:
            known.errors.add(seconds, is_cut=False)
        if fate not in TELLING:
            return
        is_cut = fate is not Fate.SUCCESS
        if len(known.runs) < FIRST and not is_cut:
            self._population(key.upstream).add(max(seconds, SHORTEST_S))
            self._all.add(max(seconds, SHORTEST_S))
        known.learn(argument_bytes, seconds, is_cut=is_cut)

    def told(self, key: ToolKey) -> ToolTimes | None:
        """What is known of a tool, at any size of arguments; None where it has not run."""
        known = self._tools.get(key)
        if known is None:
            return None
        prior = self._prior(key.upstream)
        return ToolTimes(
            forecast=_told(known.runs.curve(prior), 0.0, len(known.runs), known.success()),
            error=_told(known.errors.curve(prior), 0.0, len(known.errors), known.success()) if len(known.errors) else None,
            shares=known.shares(),
            last_run_at=known.last_run_at,
        )

    def dump(self, now: float) -> TableState:
        """All of it as values that `restore` takes."""
        return TableState(
            tools=[known.dump(key, now) for key, known in self._tools.items()],
            upstreams={name: population.values for name, population in self._upstreams.items()},
            everything=self._all.values,
        )

    def restore(self, state: TableState, now: float, *, away_s: float = 0.0) -> None:
        """Begin with what `dump` gave `away_s` ago; raises `ValueError` where it is no such thing, and knows nothing then.

        Tools that have not run for `UNUSED_S` are left out.
        """
        tools = OrderedDict[ToolKey, ToolRuns]()
        for told in state.tools[-self._max_tools :]:
            if told.age_s + away_s < UNUSED_S:
                tools[ToolKey(told.upstream, told.tool)] = ToolRuns.restored(told, now - told.age_s - max(0.0, away_s))
        upstreams = OrderedDict((name, Population(*values)) for name, values in list(state.upstreams.items())[-MAX_UPSTREAMS:])
        everything = Population(*state.everything)
        self._tools, self._upstreams, self._all = tools, upstreams, everything

    def _known(self, key: ToolKey, now: float) -> ToolRuns:
        known = self._tools.get(key)
        if known is None:
            known = self._tools[key] = ToolRuns(now)
            if len(self._tools) > self._max_tools:
                self._tools.popitem(last=False)
        else:
            self._tools.move_to_end(key)
        return known

    def _population(self, upstream: UpstreamName) -> Population:
        population = self._upstreams.get(upstream)
        if population is None:
            population = self._upstreams[upstream] = Population()
            if len(self._upstreams) > MAX_UPSTREAMS:
                self._upstreams.popitem(last=False)
        return population

    def _prior(self, upstream: UpstreamName) -> Prior:
        wider = self._all.prior(ANYTHING)
        population = self._upstreams.get(upstream)
        return wider if population is None else population.prior(wider)


def _told(curve: Curve, elapsed_s: float, num_samples: float, success: float) -> Forecast:
    p10, p50, p90, p99 = quantiles(curve, elapsed_s)
    return Forecast(p10, p50, p90, p99, num_samples, success)
