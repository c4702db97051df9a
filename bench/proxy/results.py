"""What a run measured: frozen values that go to JSON and come back."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import msgspec
from bench.proxy.processes import Memory


class Load(msgspec.Struct, frozen=True):
    """What the generator printed of one sample; times are microseconds, and those of streams None for whole answers."""

    requests: int
    errors: int
    first_error: str
    elapsed_s: float
    chunks: int
    cpu_s: float
    latency_p50_us: float | None = None
    latency_p99_us: float | None = None
    first_chunk_p50_us: float | None = None
    first_chunk_p99_us: float | None = None
    transit_p50_us: float | None = None
    transit_p99_us: float | None = None
    late_p50_us: float | None = None
    late_p99_us: float | None = None
    """How long after they were due, and a connection was free, requests were sent, where they were due at a rate."""


class Sample(msgspec.Struct, frozen=True):
    """One scenario on one target in one round: what clients saw, the CPU time of the target's tree, its memory after it."""

    round: int
    scenario: str
    target: str
    load: Load
    cpu_ns: int
    memory: Memory | None
    loaded_s: float
    """Seconds of load that the target has had since it started, this sample's included."""

    @property
    def cpu_us_per_unit(self) -> float | None:
        """CPU microseconds a chunk where the sample streamed, else a request; None where nothing was served."""
        units = self.load.chunks or self.load.requests
        return self.cpu_ns / 1e3 / units if units and self.cpu_ns else None


class Target(msgspec.Struct, frozen=True):
    """What was measured, or why it was not."""

    name: str
    title: str
    version: str
    command: str
    is_rust_cache_aware: bool = False
    note: str = ""
    missing: str | None = None
    idle_memory: Memory | None = None


class Run(msgspec.Struct, frozen=True):
    """A whole run."""

    machine: dict[str, str]
    commit: str
    is_dirty: bool
    began: str
    command: str
    seed: int
    rounds: int
    seconds: float
    targets: tuple[Target, ...]
    scenarios: tuple[str, ...]
    samples: tuple[Sample, ...]

    def of(self, scenario: str, target: str) -> list[Sample]:
        """The samples of a target in a scenario, by round."""
        return [one for one in self.samples if (one.scenario, one.target) == (scenario, target)]

    def median(self, scenario: str, target: str, value: Callable[[Sample], float | None]) -> float | None:
        """The median over rounds of what `value` reads from a sample; None where no sample has it."""
        values = [read for one in self.of(scenario, target) if (read := value(one)) is not None]
        return median(values) if values else None

    def ratio(self, scenario: str, target: str, to: str, value: Callable[[Sample], float | None]) -> float | None:
        """The median over rounds of a target's value divided by another's in the same round."""
        return self._by_round(scenario, target, to, value, lambda ours, theirs: ours / theirs if theirs else None)

    def added(self, scenario: str, target: str, to: str, value: Callable[[Sample], float | None]) -> float | None:
        """The median over rounds of a target's value less another's in the same round."""
        return self._by_round(scenario, target, to, value, lambda ours, theirs: ours - theirs)

    def _by_round(
        self,
        scenario: str,
        target: str,
        to: str,
        value: Callable[[Sample], float | None],
        combine: Callable[[float, float], float | None],
    ) -> float | None:
        others = {one.round: value(one) for one in self.of(scenario, to)}
        combined: list[float] = []
        for one in self.of(scenario, target):
            ours, theirs = value(one), others.get(one.round)
            if ours is not None and theirs is not None and (read := combine(ours, theirs)) is not None:
                combined.append(read)
        return median(combined) if combined else None


def read_load(printed: bytes) -> Load:
    """Read what the generator printed; raises `msgspec.ValidationError` or `msgspec.DecodeError`."""
    return msgspec.json.decode(printed, type=Load)
