"""One of ten tool servers breaks: what the other nine feel, how soon it is back, and that nothing is left of a thousand.

Some ways of breaking by themselves: `python -m bench.tools.isolation [--rounds N] "killed program" "hung endpoint" ...`
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
import uvloop
from bench.knowledge.row import Row, at_most, over_neighbours
from bench.tools import Options
from bench.tools.bare import bare_start
from bench.tools.restarts import NUM_RESTARTS, left_of_restarts
from bench.tools.ten import ENDLESS, HALF, Server, Ten, standing

from turnwise import collector
from turnwise.tools_gateway.values import ToolFault, UpstreamName

P99_BOUND, HEAL_BOUND_S = 1.5, 5.0
ROUNDS, WINDOW_S, PERIOD_S = 7, 2.0, 0.04
BROKEN_S, SOUND_S = 1.0, 10.0
"""For how long a call is waited for, of the server that is broken and of the others."""

WELL, KILLED, HUNG, REFUSING, LEAKING = "well", "killed", "hung", "refusing", "leaking"
CONTROL = f"{WELL} program"
"""Nothing is broken: how far two sets of windows in which all is well are apart."""

CASES = {CONTROL: (WELL, True)} | {
    f"{fault} {'program' if is_program else 'endpoint'}": (fault, is_program)
    for fault in (KILLED, HUNG, REFUSING, LEAKING)
    for is_program in (True, False)
}
HOW = (
    "Ten servers of the SDK, five programs and five behind ports of loopback, each asked every 40 ms on one loop. Each window "
    f"of {WINDOW_S:g} s in which one is broken stands between two in which all is well: the p99 of the other nine in it, over "
    f"the geometric mean of theirs in those two; the median of {ROUNDS} rounds. Well program: nothing was broken, and what is "
    "off 1 is chance. What leaks is written past the SDK, in small writes as fast as it is read: it takes no core by itself."
)
HEALED_HOW = (
    f"Seconds, the longest of {ROUNDS}, from when a server can be started again: a program that was killed from then on, any "
    "other from the end of its fault, an endpoint when its port takes connections. Beside a program's stands what the same "
    "program took to its first answer with no gateway, started right after: what is above that is the gateway's."
)


class Window(msgspec.Struct):
    """Two seconds of calls to all ten."""

    took_s: dict[UpstreamName, list[float]]
    num_failed: dict[UpstreamName, int]

    def without(self, server: Server) -> list[float]:
        """Seconds that calls to the other nine took."""
        return [took for name, all_took in self.took_s.items() if name != server.name for took in all_took]


class Case(msgspec.Struct):
    """What the other nine felt of one fault."""

    ratios: list[float] = msgspec.field(default_factory=list)
    """Of each round: the p99 beside the broken server, over that of the same nine while all is well."""
    broken_s: list[float] = msgspec.field(default_factory=list)
    quiet_s: list[float] = msgspec.field(default_factory=list)
    """After the server was mended."""
    healed_s: list[float] = msgspec.field(default_factory=list)
    bare_s: list[float] = msgspec.field(default_factory=list)
    """What the program took to start by itself, each time that it healed by a start."""
    num_failed: int = 0

    def add(self, server: Server, before: Window, broken: Window, after: Window) -> None:
        """One round, in which this server was broken between two quiet windows."""
        beside, quiet = broken.without(server), after.without(server)
        self.ratios.append(over_neighbours(_p99(beside), _p99(before.without(server)), _p99(quiet)))
        self.broken_s += beside
        self.quiet_s += quiet
        self.num_failed += sum(
            failed for window in (broken, after) for name, failed in window.num_failed.items() if name != server.name
        )

    @property
    def ratio(self) -> float:
        """Of the median round."""
        return statistics.median(self.ratios)


def rows(_options: Options) -> Sequence[Row]:
    """Measure what is felt, what heals, and what is left."""
    cases = uvloop.run(_measure(list(CASES), ROUNDS))
    left = left_of_restarts()
    ratios = {name: case.ratio for name, case in cases.items()}
    worst = max(ratio for name, ratio in ratios.items() if name != CONTROL)
    figures = {f"{name}, x quiet": ratio for name, ratio in ratios.items()}
    figures |= {
        "the worst, all rounds as one": max(_p99(c.broken_s) / _p99(c.quiet_s) for n, c in cases.items() if n != CONTROL),
        "quiet p99 ms": 1e3 * _p99([took for case in cases.values() for took in case.quiet_s]),
    }
    failed = sum(case.num_failed for case in cases.values())
    slowest = max(max(case.healed_s) for case in cases.values())
    healed = {f"{name}, s": max(case.healed_s) for name, case in cases.items()}
    healed |= {f"{name}, bare start, s": max(case.bare_s) for name, case in cases.items() if case.bare_s}
    touched = "p99 of calls to the other nine while one of ten upstreams is broken, the worst way of breaking"
    return [
        at_most("isolation", touched, worst, P99_BOUND, "x all well", figures, HOW),
        at_most("isolation-failed", "failed calls of the other nine", failed, 0, "calls", {"calls": _count(cases)}, HOW),
        at_most("isolation-healed", "from its return to its first answer", slowest, HEAL_BOUND_S, "s", healed, HEALED_HOW),
        at_most(
            "isolation-left",
            "processes, descriptors and folders left of a thousand restarts",
            sum(left.values()),
            0,
            "",
            {**left, "restarts": NUM_RESTARTS},
            "A small server that starts a program of its own is killed, stopped in its tracks, or ended, by turns.",
        ),
    ]


async def _measure(names: Sequence[str], rounds: int) -> dict[str, Case]:
    """These faults, by turns; each round breaks another server."""
    cases = {name: Case() for name in names}
    async with standing() as ten:
        collector.tune()  # as the gateway does when it is ready
        for number in range(rounds):
            before = await _window(ten)
            for name, case in cases.items():
                fault, is_program = CASES[name]
                server = [server for server in ten.servers if server.is_program is is_program][number % HALF]
                async with _broken(ten, server, fault):
                    is_back = server.is_program and fault == KILLED
                    healing = asyncio.create_task(ten.healed(server)) if is_back else None
                    broken = await _window(ten, server)
                case.healed_s.append(await (healing or ten.healed(server)))
                await ten.ready()
                if server.is_program and fault not in {WELL, HUNG}:
                    case.bare_s.append(await bare_start(server.settings().command))
                after = await _window(ten)
                case.add(server, before, broken, after)
                before = after
    return cases


async def _window(ten: Ten, broken: Server | None = None) -> Window:
    """Call all ten at their pace; the one that is broken is asked as often."""
    window = Window({server.name: [] for server in ten.servers}, {server.name: 0 for server in ten.servers})
    until = time.monotonic() + WINDOW_S

    async def ask(server: Server, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        while (began := time.monotonic()) < until:
            try:
                await ten.call(server, "echo", {"text": "how are you"}, BROKEN_S if server is broken else SOUND_S)
                window.took_s[server.name].append(time.monotonic() - began)
            except ToolFault:
                window.num_failed[server.name] += 1
            await asyncio.sleep(max(0.0, began + PERIOD_S - time.monotonic()))

    await asyncio.gather(*(ask(server, PERIOD_S * place / len(ten.servers)) for place, server in enumerate(ten.servers)))
    return window


@asynccontextmanager
async def _broken(ten: Ten, server: Server, fault: str) -> AsyncIterator[None]:
    """A server that is broken, and mended afterwards."""
    leak: asyncio.Task[None] | None = None
    if fault == REFUSING:
        server.refuse()
    if fault in {KILLED, REFUSING}:
        server.signal(ten.pid(server), signal.SIGKILL)
    elif fault == HUNG:
        server.signal(ten.pid(server), signal.SIGSTOP)
    elif fault == LEAKING:
        leak = asyncio.create_task(_leak(ten, server))
    pid = ten.pid(server)
    try:
        yield
    finally:
        if fault == HUNG:
            server.signal(pid, signal.SIGCONT)
        if leak is not None:
            leak.cancel()
            await asyncio.wait((leak,))
            server.signal(ten.pid(server), signal.SIGKILL)
        server.admit()
        if not server.is_program and fault != HUNG:
            await server.stop()
            await server.start()


async def _leak(ten: Ten, server: Server) -> None:
    """Have a server say what nobody asked for, without end."""
    with suppress(ToolFault):
        if server.is_program:
            await ten.call(server, "noise", {"num_bytes": ENDLESS, "newline_every": 80}, WINDOW_S)
        else:
            await ten.call(server, "flood", {}, WINDOW_S)


def _count(cases: dict[str, Case]) -> int:
    return sum(len(case.quiet_s) + len(case.broken_s) for case in cases.values())


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]


def main() -> None:
    """Measure the ways of breaking that are named."""
    parser = argparse.ArgumentParser(description="What nine tool servers feel of the tenth.")
    parser.add_argument("names", nargs="+", choices=CASES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    for name, case in uvloop.run(_measure(args.names, args.rounds)).items():
        quiet, broken = (f"{1e3 * _p99(took):.1f} ms of {len(took)}" for took in (case.quiet_s, case.broken_s))
        ended = f"{case.num_failed} failed, healed {max(case.healed_s):.2f} s"
        rounds = " ".join(f"{ratio:.2f}" for ratio in sorted(case.ratios))
        print(f"{name}: {case.ratio:.2f} x of {rounds}; p99 {broken} beside {quiet}, {ended}")


if __name__ == "__main__":
    main()
