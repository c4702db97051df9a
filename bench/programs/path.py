"""CPU of a call on the data path with identity, ledger and traces, over what it is without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.knowledge.row import Row, at_most
from bench.programs import short
from bench.programs.stage import OFF, ON, SETTINGS_OFF, Plan, Sample, standing
from bench.proxy import bodies

BOUND = 1.35
UNTRACED = "untraced"
TARGETS = (OFF, UNTRACED, ON)
CONNECTIONS = 64
NUM_CONVERSATIONS, NUM_TURNS = 512, 4
ROUNDS, SECONDS = 9, 1.5
HOW = (
    "Three proxies take turns on one core: with `programs.enabled = false`, with programs but no traces, and with both, which "
    "is compared with the first; generator, replicas and the traces' sink have the other core. Counted is the thread that "
    "serves. Spans are made and sent by a process of its own, which has a row of its own and, where calls are as many as one "
    "core can serve, gets little of it. The ratio is the median over rounds."
)


def measure_turns(seed: int, cache: Path) -> Row:
    """Agents' short conversations, as many as the core can serve."""
    plan = Plan(short.conversations(seed, NUM_CONVERSATIONS, NUM_TURNS), CONNECTIONS)
    title = f"CPU of a 1 KB call of a conversation of {NUM_TURNS}, {CONNECTIONS} connections"
    return _measure("turns", title, plan, cache)


def measure_single(seed: int, cache: Path) -> Row:
    """Calls that are each a program of their own."""
    plan = Plan(short.conversations(seed, NUM_CONVERSATIONS, 1), CONNECTIONS)
    return _measure("single", f"CPU of a 1 KB call that is a program of its own, {CONNECTIONS} connections", plan, cache)


def measure_long(seed: int, cache: Path) -> Row:
    """The next turn of a conversation of 600 KB."""
    return _measure("long", "CPU of the next turn of a 600 KB conversation", Plan(bodies.growing(seed, 8), 1), cache)


def _measure(name: str, title: str, plan: Plan, cache: Path) -> Row:
    samples: dict[str, list[Sample]] = {target: [] for target in TARGETS}
    with standing(cache) as stage:
        stage.proxy(OFF, SETTINGS_OFF)
        stage.proxy(UNTRACED, [])
        stage.proxy(ON, [f"traces.endpoint={stage.sink('take')}"])
        for target in samples:
            stage.sample(target, plan, SECONDS)
        for number in range(ROUNDS):
            turn = number % len(TARGETS)
            for target in TARGETS[turn:] + TARGETS[:turn]:
                samples[target].append(stage.sample(target, plan, SECONDS))
        num_spans = stage.taken("take").num_spans
    num_calls = sum(sample.load.requests for sample in samples[ON])
    figures = {
        **{f"{target} us": median(sample.path_us for sample in samples[target]) for target in TARGETS},
        "beside the path us": median(sample.beside_us for sample in samples[ON]) - median(s.beside_us for s in samples[OFF]),
        "off calls a second": _rate(samples[OFF]),
        "on calls a second": _rate(samples[ON]),
        "spans sent a call": num_spans / num_calls,
    }
    ratio = median(on.path_us / off.path_us for on, off in zip(samples[ON], samples[OFF], strict=True))
    return at_most(name, title, ratio, BOUND, "x without programs", figures, HOW)


def _rate(samples: Sequence[Sample]) -> float:
    return median(sample.load.requests / sample.load.elapsed_s for sample in samples)
