"""A thousand calls a second: what their first token feels of traces, taken or not, and what making and sending those costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median

import msgspec
from bench.knowledge.row import Row, at_most, over_neighbours
from bench.programs import short
from bench.programs.stage import OFF, ON, SETTINGS_OFF, Plan, Sample, Stage, standing
from bench.proxy.processes import free_ports
from bench.proxy.undisturbed import awake, stolen_s

from turnwise import names

TTFT_BOUND, ENCODING_BOUND_US = 1.2, 80.0
RATE = 1_000.0
"""Calls that begin each second: one in each millisecond, at a moment that is random and the same for all proxies of a round."""
NUM_CHUNKS, CONNECTIONS = 1, 64
"""Streams of one chunk: each more takes a twentieth of the core, which is not what is asked."""
NUM_CONVERSATIONS, NUM_TURNS = 512, 4
ROUNDS, LEAD_S, SECONDS = 10, 0.4, 1.6
"""Calls that begin in the lead of a sample do not count: a proxy that stood still has caught up then."""
QUIET_S = 0.2
"""After its last call a program ends: so soon that in each sample as many end as begin."""
STOLEN_LIMIT, LATE_LIMIT_US = 0.02, 1_000.0
"""The share of a sample for which the host may take a core, and by how much the p99 of what the generator sends may be late by
its own fault: past these a sample is taken again, whatever it says."""
MAX_TRIES, MAX_AGAIN = 4, 50
"""Of one sample, and samples of a run that are taken again."""
AGAIN = "off again"
"""Another proxy like `OFF`: how far the two are apart is what a ratio cannot tell."""
DOWN, SLOW, REFUSING = "down", "slow", "refusing"
BROKEN = (DOWN, SLOW, REFUSING)
BESIDE_OFF = (ON, AGAIN, *BROKEN)
LOAD = (
    f"{RATE:,.0f} calls begin each second whatever is under way, one in each millisecond at a random moment of it, as "
    "streams of a chunk and in conversations of agents; a call's time counts from the moment at which it is due. A program "
    f"ends {QUIET_S:g} s after its last call, so that as many end as begin. A proxy on one core, generator, replicas and sinks "
    "on the other; the cores are kept awake where the system allows it, and a proxy stands still while others are sampled. "
    f"Each sample of {SECONDS - LEAD_S:g} s stands between two of a proxy without programs, and its ratio is to their "
    f"geometric mean; the median of {ROUNDS} rounds. Where the host took {STOLEN_LIMIT:.0%} of a core, or the generator was "
    f"{LATE_LIMIT_US / 1e3:g} ms late by itself, the sample is taken again. `Off again` is another proxy without programs: the "
    "noise of a ratio. Busy is the share of a core that the serving thread took."
)


class Visit(msgspec.Struct, frozen=True):
    """A sample of one proxy, and those of `OFF` right before and after it."""

    sample: Sample
    before: Sample
    after: Sample

    @property
    def ratio(self) -> float:
        """The first chunk's p99, over what it is without programs."""
        return over_neighbours(_p99_us(self.sample), _p99_us(self.before), _p99_us(self.after))


class Measured(msgspec.Struct, frozen=True):
    """What came of all rounds, by proxy."""

    visits: Mapping[str, Sequence[Visit]]
    num_calls: Mapping[str, int]
    """Those of samples that do not count, too."""
    num_spans: int
    """That the sink took."""
    num_dropped: Mapping[str, float]
    """Spans."""
    is_awake: bool = False
    """Whether the cores were kept from sleeping."""
    num_again: int = 0
    """Samples that were taken again."""
    num_disturbed: int = 0
    """Samples that count though the machine disturbed them."""

    def samples(self, target: str) -> Sequence[Sample]:
        """All samples of a proxy."""
        if target == OFF:
            return [visit.after for visits in self.visits.values() for visit in visits]
        return [visit.sample for visit in self.visits[target]]

    def ttft_us(self, target: str) -> float:
        """The median over samples of the first chunk's p99."""
        return median(_p99_us(sample) for sample in self.samples(target))

    def slowdown(self, target: str) -> float:
        """The median over rounds of the first chunk's p99, over what it is without programs."""
        return median(visit.ratio for visit in self.visits[target])

    def noise(self) -> Mapping[str, float]:
        """What two proxies that are alike differ by: at the median, and from the least to the most of a round."""
        ratios = [visit.ratio for visit in self.visits[AGAIN]]
        return {
            "off again, x off": median(ratios),
            "at least": min(ratios),
            "at most": max(ratios),
            "cores awake": float(self.is_awake),
            "samples taken again": self.num_again,
            "samples disturbed": self.num_disturbed,
        }

    def busy(self, target: str) -> float:
        """The share of a core that the serving thread took."""
        return median(sample.busy for sample in self.samples(target))


def measure_ttft(seed: int, cache_folder: Path) -> Row:
    """The first token's p99 while every call is traced."""
    measured = _measured(seed, cache_folder)
    figures = {
        "off p99 us": measured.ttft_us(OFF),
        "on p99 us": measured.ttft_us(ON),
        **measured.noise(),
        "off busy": measured.busy(OFF),
        "on busy": measured.busy(ON),
        "calls a second": median(on.load.requests / on.load.elapsed_s for on in measured.samples(ON)),
    }
    title = "p99 of the first token at a thousand calls a second, every call traced"
    return at_most("ttft", title, measured.slowdown(ON), TTFT_BOUND, "x without programs", figures, LOAD)


def measure_encoding(seed: int, cache_folder: Path) -> Row:
    """What the threads and processes beside the path cost a call."""
    return encoding_row(_measured(seed, cache_folder))


def encoding_row(measured: Measured) -> Row:
    """The row of a run; it does not hold where no span was sent, as nothing costs nothing."""
    cost_us = median(on.beside_us for on in measured.samples(ON)) - median(off.beside_us for off in measured.samples(OFF))
    figures = {"spans a call": measured.num_spans / measured.num_calls[ON], "dropped spans": measured.num_dropped[ON]}
    title = "CPU of making and sending the spans of a call, beside the path"
    how = f"All threads and processes of the proxy but the thread that serves, less what they cost without programs. {LOAD}"
    row = at_most("encoding", title, cost_us, ENCODING_BOUND_US, "us a call", figures, how)
    return row if measured.num_spans else msgspec.structs.replace(row, holds=False, measured="no span was sent")


def measure_broken(seed: int, cache_folder: Path) -> Row:
    """The first token's p99 while nobody takes the traces."""
    measured = _measured(seed, cache_folder)
    figures = {f"{target} p99 us": measured.ttft_us(target) for target in (OFF, *BROKEN)}
    figures |= measured.noise()
    figures |= {f"{target}, x without": measured.slowdown(target) for target in BROKEN}
    figures |= {f"{target}, spans dropped": measured.num_dropped[target] for target in BROKEN}
    worst = max(measured.slowdown(target) for target in BROKEN)
    title = "p99 of the first token while the traces' backend is down, slow or refusing, the worst of the three"
    how = f"Nobody listens, a sink answers after 2 s, or a sink answers 503 to all. {LOAD}"
    return at_most("broken", title, worst, TTFT_BOUND, "x without programs", figures, how)


@cache
def _measured(seed: int, cache_folder: Path) -> Measured:
    """One run for all rows of this module."""
    arguments = {"stream": True, "max_tokens": NUM_CHUNKS}
    conversations = short.conversations(seed, NUM_CONVERSATIONS, NUM_TURNS, arguments)
    plan = Plan(conversations, CONNECTIONS, NUM_CHUNKS, rate=RATE, lead_s=LEAD_S)
    on = f"programs.quiet_s={QUIET_S}"
    with standing(cache_folder) as stage, awake() as is_awake:
        (nobody,) = free_ports(1)
        stage.proxy(OFF, SETTINGS_OFF)
        stage.proxy(AGAIN, SETTINGS_OFF)
        stage.proxy(ON, [on, f"traces.endpoint={stage.sink('take')}"])
        stage.proxy(DOWN, [on, f"traces.endpoint=http://127.0.0.1:{nobody}"])
        stage.proxy(SLOW, [on, f"traces.endpoint={stage.sink('slow')}"])
        stage.proxy(REFUSING, [on, f"traces.endpoint={stage.sink('refuse')}"])
        with stage.by_turns():
            taking = Taking(stage, plan)
            visits = taking.visits()
        num_spans = stage.taken("take").num_spans
        targets = (OFF, *BESIDE_OFF)
        num_dropped = {target: sum(stage.counted(target, names.SPANS_LOST.name).values()) for target in targets}
    return Measured(visits, taking.num_calls, num_spans, num_dropped, is_awake, taking.num_again, taking.num_disturbed)


class Taking:
    """Takes the samples of all proxies by turns, and those again that the host disturbed."""

    def __init__(self, stage: Stage, plan: Plan, stolen: Callable[[], Mapping[str, float]] = stolen_s) -> None:
        self._stage = stage
        self._plan = plan
        self._stolen = stolen
        self.num_again = 0
        """Samples that were taken again."""
        self.num_disturbed = 0
        """Samples that count though the machine disturbed them."""
        self.num_calls = dict.fromkeys((OFF, *BESIDE_OFF), 0)

    def visits(self) -> Mapping[str, Sequence[Visit]]:
        """Visit each proxy once a round."""
        visits: dict[str, list[Visit]] = {target: [] for target in BESIDE_OFF}
        for target in (*BESIDE_OFF, OFF):
            self._take(target, 0)
        before = self.sample(OFF, 0)
        for number in range(ROUNDS):
            turn = number % len(BESIDE_OFF)
            for target in BESIDE_OFF[turn:] + BESIDE_OFF[:turn]:
                sample, after = self.sample(target, number), self.sample(OFF, number)
                visits[target].append(Visit(sample, before, after))
                before = after
        return visits

    def sample(self, target: str, number: int) -> Sample:
        """Take one sample; of a round's number all have the same moments."""
        num_tries = 0
        while True:
            began, before = time.monotonic(), self._stolen()
            sample = self._take(target, number)
            allowed_s = STOLEN_LIMIT * (time.monotonic() - began)
            num_tries += 1
            was_left = all(now - before[core] <= allowed_s for core, now in self._stolen().items())
            if was_left and (sample.load.late_p99_us or 0.0) <= LATE_LIMIT_US:
                return sample
            if num_tries == MAX_TRIES or self.num_again == MAX_AGAIN:
                self.num_disturbed += 1
                return sample
            self.num_again += 1

    def _take(self, target: str, number: int) -> Sample:
        sample = self._stage.sample(target, self._plan, SECONDS, number)
        self.num_calls[target] += sample.load.requests
        return sample


def _p99_us(sample: Sample) -> float:
    assert sample.load.first_chunk_p99_us is not None  # every answer was a stream
    return sample.load.first_chunk_p99_us
