"""One of ten tool servers breaks: what the other nine feel, how soon it is back, and that nothing is left of a thousand."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import uvloop
from bench.knowledge.row import Row, at_most
from bench.tools import Options
from bench.tools.bare import bare_start
from bench.tools.ten import ENDLESS, Server, Ten, standing

from turnwise.tools_gateway.settings import UpstreamSettings
from turnwise.tools_gateway.upstreams.stdio import StdioDial
from turnwise.tools_gateway.values import ToolFault

P99_BOUND, HEAL_BOUND_S = 1.5, 5.0
ROUNDS, WINDOW_S, PERIOD_S = 5, 2.0, 0.04
BROKEN_S, SOUND_S = 1.0, 10.0
"""For how long a call is waited for, of the server that is broken and of the others."""

NUM_RESTARTS, SETTLE_S = 1000, 2.0
DESCRIPTORS = "/proc/self/fd"
SMALL = Path(__file__).with_name("small_server.py")
KILLED, HUNG, REFUSING, LEAKING = "killed", "hung", "refusing", "leaking"
CASES = tuple((fault, is_program) for fault in (KILLED, HUNG, REFUSING, LEAKING) for is_program in (True, False))
HOW = (
    "Ten servers of the SDK, five programs and five behind ports of loopback, each asked every 40 ms on one loop. Windows of "
    "2 s in which all is well and in which one is broken take turns; percentiles are of all windows of a kind."
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


def rows(_options: Options) -> Sequence[Row]:
    """Measure what is felt, what heals, and what is left."""
    cases = uvloop.run(_measure())
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            left = uvloop.run(_restart())
        finally:
            tempfile.tempdir = None
    ratios = {name: _p99(case.broken_s) / _p99(case.quiet_s) for name, case in cases.items()}
    figures = {f"{name}, x quiet": ratio for name, ratio in ratios.items()}
    figures |= {"quiet p99 ms": 1e3 * _p99([took for case in cases.values() for took in case.quiet_s])}
    failed = sum(case.num_failed for case in cases.values())
    slowest = max(max(case.healed_s) for case in cases.values())
    healed = {f"{name}, s": max(case.healed_s) for name, case in cases.items()}
    healed |= {f"{name}, bare start, s": max(case.bare_s) for name, case in cases.items() if case.bare_s}
    touched = "p99 of calls to the other nine while one of ten upstreams is broken, the worst way of breaking"
    return [
        at_most("isolation", touched, max(ratios.values()), P99_BOUND, "x all well", figures, HOW),
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


async def _measure() -> dict[str, Case]:
    """All faults, by turns."""
    cases = {_name(fault, is_program=is_program): Case() for fault, is_program in CASES}
    async with standing() as ten:
        for number in range(ROUNDS):
            for fault, is_program in CASES:
                case = cases[_name(fault, is_program=is_program)]
                server = [server for server in ten.servers if server.is_program is is_program][number]
                others = [other for other in ten.servers if other is not server]
                case.quiet_s += await _window(ten, server, others, case)
                async with _broken(ten, server, fault):
                    is_back = server.is_program and fault == KILLED
                    healing = asyncio.create_task(ten.healed(server)) if is_back else None
                    case.broken_s += await _window(ten, server, others, case)
                case.healed_s.append(await (healing or ten.healed(server)))
                await ten.ready()
                if server.is_program and fault != HUNG:
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
    else:
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


async def _restart() -> dict[str, int]:
    """What is left of programs that were started and ended a thousand times."""
    upstream = UpstreamSettings(name="small", command=(sys.executable, "-I", "-S", str(SMALL)))
    dial = StdioDial(upstream, {}, news=_unheard, lost=_unheard, clock=time.monotonic, capabilities={})
    await (await dial()).aclose()  # what the loop itself keeps for programs is open from now on
    before = _entries(DESCRIPTORS)
    pids: set[int] = set()
    for number in range(NUM_RESTARTS):
        connection = await dial()
        assert connection.pid is not None
        pids.add(connection.pid)
        if how := (None, signal.SIGKILL, signal.SIGSTOP)[number % 3]:
            os.kill(connection.pid, how)
            connection.give_up("it was broken")
        await connection.aclose()
    for _ in range(100):
        if not _running(pids):
            break
        await asyncio.sleep(SETTLE_S / 100)
    return {
        "processes": _running(pids),
        "descriptors": max(0, _entries(DESCRIPTORS) - before),
        "folders": _entries(tempfile.gettempdir()),
    }


def _running(sessions: set[int]) -> int:
    """Processes of these sessions, each of which one program led; what has ended counts while it is ours to be waited for."""
    return sum(_is_of(sessions, path) for path in Path("/proc").iterdir() if path.name.isdigit())


def _is_of(sessions: set[int], process: Path) -> bool:
    """Whether a process is left of one of these sessions."""
    try:
        state, parent, _, session, *_ = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return False
    return int(session) in sessions and (state not in {"Z", "X"} or int(parent) == os.getpid())


def _entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def _unheard(*_: object) -> None:
    """Nobody listens."""


def _count(cases: dict[str, Case]) -> int:
    return sum(len(case.quiet_s) + len(case.broken_s) for case in cases.values())


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]


def _name(fault: str, *, is_program: bool) -> str:
    return f"{fault} {'program' if is_program else 'endpoint'}"
