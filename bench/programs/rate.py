"""A thousand calls a second: what their first token feels of traces, taken or not, and what making and sending those costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median

import msgspec
from bench.knowledge.row import Row, at_most
from bench.programs import short
from bench.programs.stage import OFF, ON, SETTINGS_OFF, Plan, Sample, standing
from bench.proxy.processes import free_ports

from turnwise import names

TTFT_BOUND, ENCODING_BOUND_US = 1.2, 80.0
RATE = 1_000.0
"""Calls that begin each second: one in each millisecond, at a moment that is random and the same for all proxies of a round."""
NUM_CHUNKS, CONNECTIONS = 1, 64
"""Streams of one chunk: each more takes a twentieth of the core, which is not what is asked."""
NUM_CONVERSATIONS, NUM_TURNS = 512, 4
ROUNDS, SECONDS = 15, 1.2
AGAIN = "off again"
"""Another proxy like `OFF`: how far the two are apart is what a ratio cannot tell."""
DOWN, SLOW, REFUSING = "down", "slow", "refusing"
BROKEN = (DOWN, SLOW, REFUSING)
LOAD = (
    f"{RATE:,.0f} calls begin each second whatever is under way, one in each millisecond at a random moment of it, as "
    "streams of a chunk and in conversations of agents; a call's time counts from the moment at which it is due. A proxy on "
    "one core, generator, replicas and sinks on the other; samples in turns, the same moments for all proxies of a round, "
    "ratios in a round. `Off again` is another proxy without programs: the noise of a ratio. Busy is the share of a core "
    "that the serving thread took."
)


class Measured(msgspec.Struct, frozen=True):
    """The samples of each proxy, the spans that the sink took, and the spans that each proxy dropped."""

    samples: Mapping[str, Sequence[Sample]]
    num_spans: int
    num_dropped: Mapping[str, float]

    def ttft_us(self, target: str) -> float:
        """The median over rounds of the first chunk's p99."""
        return median(_p99_us(sample) for sample in self.samples[target])

    def slowdown(self, target: str) -> float:
        """The median over rounds of the first chunk's p99, over what it is without programs."""
        pairs = zip(self.samples[target], self.samples[OFF], strict=True)
        return median(_p99_us(sample) / _p99_us(off) for sample, off in pairs)

    def calls_a_second(self, target: str) -> float:
        """How many calls ended in a second."""
        return median(sample.load.requests / sample.load.elapsed_s for sample in self.samples[target])

    def noise(self) -> Mapping[str, float]:
        """What two proxies that are alike differ by: at the median, and from the least to the most of a round."""
        pairs = zip(self.samples[AGAIN], self.samples[OFF], strict=True)
        ratios = sorted(_p99_us(again) / _p99_us(off) for again, off in pairs)
        return {"off again, x off": median(ratios), "at least": ratios[0], "at most": ratios[-1]}

    def busy(self, target: str) -> float:
        """The share of a core that the serving thread took."""
        return median(sample.busy for sample in self.samples[target])


def measure_ttft(seed: int, cache_folder: Path) -> Row:
    """The first token's p99 while every call is traced."""
    measured = _measured(seed, cache_folder)
    figures = {
        "off p99 us": measured.ttft_us(OFF),
        "on p99 us": measured.ttft_us(ON),
        **measured.noise(),
        "off busy": measured.busy(OFF),
        "on busy": measured.busy(ON),
        "calls a second": measured.calls_a_second(ON),
    }
    title = "p99 of the first token at a thousand calls a second, every call traced"
    return at_most("ttft", title, measured.slowdown(ON), TTFT_BOUND, "x without programs", figures, LOAD)


def measure_encoding(seed: int, cache_folder: Path) -> Row:
    """What the threads and processes beside the path cost a call."""
    return encoding_row(_measured(seed, cache_folder))


def encoding_row(measured: Measured) -> Row:
    """The row of a run; it does not hold where no span was sent, as nothing costs nothing."""
    num_calls = sum(sample.load.requests for sample in measured.samples[ON])
    cost_us = median(on.beside_us for on in measured.samples[ON]) - median(off.beside_us for off in measured.samples[OFF])
    figures = {"spans a call": measured.num_spans / num_calls, "dropped spans": measured.num_dropped[ON]}
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
    plan = Plan(conversations, CONNECTIONS, NUM_CHUNKS, rate=RATE)
    targets = (OFF, ON, AGAIN, *BROKEN)
    samples: dict[str, list[Sample]] = {target: [] for target in targets}
    with standing(cache_folder) as stage:
        (nobody,) = free_ports(1)
        stage.proxy(OFF, SETTINGS_OFF)
        stage.proxy(AGAIN, SETTINGS_OFF)
        stage.proxy(ON, [f"traces.endpoint={stage.sink('take')}"])
        stage.proxy(DOWN, [f"traces.endpoint=http://127.0.0.1:{nobody}"])
        stage.proxy(SLOW, [f"traces.endpoint={stage.sink('slow')}"])
        stage.proxy(REFUSING, [f"traces.endpoint={stage.sink('refuse')}"])
        for target in targets:
            stage.sample(target, plan, SECONDS / 2)
        for number in range(ROUNDS):
            turn = number % len(targets)
            for target in targets[turn:] + targets[:turn]:
                samples[target].append(stage.sample(target, plan, SECONDS, number))
        num_spans = stage.taken("take").num_spans
        num_dropped = {target: sum(stage.counted(target, names.SPANS_LOST.name).values()) for target in targets}
    return Measured(samples, num_spans, num_dropped)


def _p99_us(sample: Sample) -> float:
    assert sample.load.first_chunk_p99_us is not None  # every answer was a stream
    return sample.load.first_chunk_p99_us
