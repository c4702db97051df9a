"""One of ten tool servers breaks: what the other nine feel, how soon it is back, and that nothing is left of a thousand.

Some ways of breaking by themselves: `python -m bench.tools.isolation [--rounds N] "killed program" "hung endpoint" ...`
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
import uvloop
from bench.knowledge.row import Row, at_most
from bench.tools import Options
from bench.tools.bare import bare_start
from bench.tools.restarts import NUM_RESTARTS, left_of_restarts
from bench.tools.ten import ENDLESS, HALF, Server, Ten, standing

from turnwise import collector
from turnwise.tools_gateway.values import ToolFault

P99_BOUND, HEAL_BOUND_S = 1.5, 5.0
ROUNDS, WINDOW_S, PERIOD_S = 5, 2.0, 0.04
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
    "Ten servers of the SDK, five programs and five behind ports of loopback, each asked every 40 ms on one loop. Windows of "
    "2 s in which all is well and in which one is broken take turns; percentiles are of all windows of a kind. Well program: "
    "nothing was broken, and what is off 1 is chance."
)
HEALED_HOW = (
    "Seconds, the longest of five, from when a server can be started again: a program that was killed from then on, any other "
    "from the end of its fault, an endpoint when its port takes connections. Beside a program's stands what the same program "
    "took to its first answer with no gateway, started right after: what is above that is the gateway's."
)


class Case(msgspec.Struct):
    """What the other nine felt of one fault."""

    quiet_s: list[float] = msgspec.field(default_factory=list)
    broken_s: list[float] = msgspec.field(default_factory=list)
    healed_s: list[float] = msgspec.field(default_factory=list)
    bare_s: list[float] = msgspec.field(default_factory=list)
    """What the program took to start by itself, each time that it healed by a start."""
    num_failed: int = 0

    @property
    def ratio(self) -> float:
        """The p99 beside the broken server, in that of the same nine while all is well."""
        return _p99(self.broken_s) / _p99(self.quiet_s)


def rows(_options: Options) -> Sequence[Row]:
    """Measure what is felt, what heals, and what is left."""
    cases = uvloop.run(_measure(list(CASES), ROUNDS))
    left = left_of_restarts()
    ratios = {name: case.ratio for name, case in cases.items()}
    worst = max(ratio for name, ratio in ratios.items() if name != CONTROL)
    figures = {f"{name}, x quiet": ratio for name, ratio in ratios.items()}
    figures |= {"quiet p99 ms": 1e3 * _p99([took for case in cases.values() for took in case.quiet_s])}
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
            for name, case in cases.items():
                fault, is_program = CASES[name]
                server = [server for server in ten.servers if server.is_program is is_program][number % HALF]
                others = [other for other in ten.servers if other is not server]
                case.quiet_s += await _window(ten, server, others, case)
                async with _broken(ten, server, fault):
                    is_back = server.is_program and fault == KILLED
                    healing = asyncio.create_task(ten.healed(server)) if is_back else None
                    case.broken_s += await _window(ten, server, others, case)
                case.healed_s.append(await (healing or ten.healed(server)))
                await ten.ready()
                if server.is_program and fault not in {WELL, HUNG}:
                    case.bare_s.append(await bare_start(server.settings().command))
    return cases


async def _window(ten: Ten, broken: Server, others: Sequence[Server], case: Case) -> list[float]:
    """Seconds that the calls of the others took; the broken one is asked as often."""
    took: list[float] = []
    until = time.monotonic() + WINDOW_S

    async def ask(server: Server, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        while (began := time.monotonic()) < until:
            try:
                await ten.call(server, "echo", {"text": "how are you"}, BROKEN_S if server is broken else SOUND_S)
                if server is not broken:
                    took.append(time.monotonic() - began)
            except ToolFault:
                case.num_failed += server is not broken
            await asyncio.sleep(max(0.0, began + PERIOD_S - time.monotonic()))

    servers = [broken, *others]
    await asyncio.gather(*(ask(server, PERIOD_S * place / len(servers)) for place, server in enumerate(servers)))
    return took


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
            await ten.call(server, "report", {"steps": ENDLESS}, WINDOW_S)


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
        print(f"{name}: {case.ratio:.2f} x, p99 {broken} beside {quiet}, {ended}")


if __name__ == "__main__":
    main()
