"""How long tools take that clients run themselves, learned from the gaps between calls."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.agents import World
from tests.unit.test_tools_events import GO, answered

from turnwise.events import ToolEvent, ToolHow
from turnwise.proxy.programs.pauses import AT_ONCE, Pauses, Source
from turnwise.proxy.programs.values import ToolRun, Waiting
from turnwise.types import CallId


def bring(pauses: Pauses, *seconds: float, tenant: str = "t", tool: str = "ls", **run) -> None:
    """Calls that bring results of tools which took so long."""
    world = World()
    record = answered(world, (GO,))
    for one in seconds:
        made = ToolRun("c", tool, CallId("caller"), 10.0, 10.0 + one, **run)
        pauses.learn(tenant, msgspec.structs.replace(record, runs=(made,)))
    pauses.work()


def waits_for(tool: str, since: float, told: ToolEvent | None = None) -> Waiting:
    return Waiting("call_1", tool, 0, 0, since, told)


def test_how_long_clients_tools_run_is_learned_from_gaps_and_said_of_those_that_wait():
    pauses = Pauses(8)
    assert pauses.left("t", waits_for("ls", 0.0), 0.0) is None
    bring(pauses, *[2.0] * 20)
    left = pauses.left("t", waits_for("ls", 100.0), 100.0)
    assert left is not None
    assert (left.seconds, left.source) == (pytest.approx(2.0, rel=0.1), Source.INFERRED)
    later = pauses.left("t", waits_for("ls", 100.0), 101.0)
    assert later is not None
    assert later.seconds == pytest.approx(1.0, rel=0.2)
    (known,) = pauses.listing()
    assert (known.tenant, known.tool, known.source, known.n) == ("t", "ls", Source.INFERRED, pytest.approx(20.0, rel=0.2))
    assert known.p50_s == pytest.approx(2.0, rel=0.1)


def test_tenants_and_sources_are_kept_apart():
    pauses = Pauses(8)
    bring(pauses, *[1.0] * 10)
    bring(pauses, *[4.0] * 10, tenant="other")
    bring(pauses, *[0.5] * 10, is_inferred=False, how=ToolHow.EARLY)
    assert [(pause.tenant, pause.source, round(pause.p50_s, 1)) for pause in pauses.listing()] == [
        ("other", Source.INFERRED, 4.0),
        ("t", Source.INFERRED, 1.0),
        ("t", Source.MEASURED, 0.5),
    ]
    assert pauses.left("third", waits_for("ls", 0.0), 0.0) is None


def test_what_took_no_time_of_its_own_teaches_nothing():
    pauses = Pauses(8)
    bring(pauses, 1.0, is_inferred=False, how=ToolHow.SHARED)
    bring(pauses, 1.0, is_inferred=False, how=ToolHow.REMEMBERED)
    bring(pauses, 1.0, is_conversation=True)
    assert pauses.listing() == []


def test_tools_that_are_known_are_bounded_and_those_that_ran_last_stay():
    pauses = Pauses(4)
    for number in range(100):
        bring(pauses, 1.0, tool=f"tool {number}")
        bring(pauses, 1.0, tool="used")
    assert [pause.tool for pause in pauses.listing()] == ["tool 97", "tool 98", "tool 99", "used"]


def test_of_many_calls_between_two_looks_the_newest_are_learned_from():
    pauses = Pauses(8)
    bring(pauses, *[50.0] * 100, *[2.0] * AT_ONCE)
    (known,) = pauses.listing()
    assert known.n == AT_ONCE
    assert known.p99_s < 10.0
