"""Slots of credentials, tools and tenants; the order of those that wait."""

import asyncio

import pytest

from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.tools_gateway.schedule import Schedule, Slots, Ticket, is_hopeless
from turnwise.tools_gateway.values import Credential, Fault, Forecast, Load, ToolFault, ToolKey


def ticket(expected_s=1.0, *, at=0.0, is_early=False, upstream="up", tenant="", tool="t", max_running=2, max_tool_running=2):
    return Ticket(
        Credential(upstream, f"{upstream}/{tenant}"),
        ToolKey(upstream, tool),
        tenant,
        max_running=max_running,
        max_tool_running=max_tool_running,
        entered_at=at,
        expected_s=expected_s,
        is_early=is_early,
    )


@pytest.fixture
def schedule():
    return Schedule(max_queued=3, max_tenant_running=4)


def entered(schedule, *tickets):
    return [schedule.enter(each) for each in tickets]


def test_the_shortest_goes_first_and_waiting_makes_up_for_length(schedule):
    running = [ticket(), ticket()]
    long, short, late = ticket(10.0), ticket(2.0), ticket(9.0, at=2.0)
    assert entered(schedule, *running, long, short, late) == [True, True, False, False, False]
    assert schedule.leave(running[0]) == [short]
    assert schedule.leave(running[1]) == [long]
    assert schedule.leave(short) == [late]


def test_a_full_queue_refuses_one_more_and_counts_no_early_run_against_those_who_ask(schedule):
    entered(schedule, ticket(), ticket(), *(ticket(is_early=True) for _ in range(3)))
    with pytest.raises(ToolFault) as refused:
        schedule.enter(ticket(is_early=True))
    assert refused.value.fault is Fault.QUEUE_FULL
    assert entered(schedule, ticket(), ticket(), ticket()) == [False] * 3
    with pytest.raises(ToolFault):
        schedule.enter(ticket())


def test_a_refusal_leaves_nothing_behind():
    schedule = Schedule(max_queued=0, max_tenant_running=1)
    schedule.enter(ticket())
    with pytest.raises(ToolFault):
        schedule.enter(ticket(upstream="other"))
    assert len(schedule._lanes) == 1


def test_each_credential_has_slots_and_a_queue_of_its_own(schedule):
    crowd = [ticket(tenant="a") for _ in range(5)]
    entered(schedule, *crowd)
    assert entered(schedule, ticket(tenant="b"), ticket(upstream="other", tenant="a")) == [True, True]


def test_a_tool_at_its_bound_stands_in_no_other_tools_way(schedule):
    first, same, other = (ticket(tool=tool, max_tool_running=1) for tool in ("t", "t", "u"))
    assert entered(schedule, first, same, other) == [True, False, True]
    assert schedule.leave(other) == []
    assert schedule.leave(first) == [same]


def test_a_tenant_at_its_bound_goes_on_at_whichever_upstream_it_waits(schedule):
    running = [ticket(upstream=f"up{number}") for number in range(4)]
    waiting = ticket(upstream="another")
    assert entered(schedule, *running, waiting) == [True] * 4 + [False]
    assert schedule.leave(running[0]) == [waiting]


def test_early_runs_leave_the_last_slot_to_those_who_ask(schedule):
    early, more, asked = ticket(is_early=True), ticket(is_early=True), ticket(at=5.0)
    assert entered(schedule, early, more, asked) == [True, False, True]
    assert schedule.leave(early) == []
    assert schedule.leave(asked) == [more]


def test_an_early_run_that_waits_for_its_tenants_bound_goes_on_as_soon_as_one_is_spare(schedule):
    running = [ticket(upstream=f"up{number}") for number in range(3)]
    early = ticket(upstream="another", is_early=True)
    assert entered(schedule, *running, early) == [True] * 3 + [False]
    assert schedule.leave(running[0]) == [early]


def test_early_runs_wait_behind_those_who_ask_and_are_among_them_once_asked_for(schedule):
    running = [ticket(), ticket()]
    early, asked = ticket(0.1, is_early=True), ticket(9.0)
    entered(schedule, *running, early, asked)
    assert schedule.promote(early) == []
    assert schedule.leave(running[0]) == [early]
    assert schedule.leave(running[1]) == [asked]
    assert schedule.promote(early) == []


def test_an_early_run_that_is_asked_for_takes_the_last_slot(schedule):
    early = ticket(is_early=True)
    entered(schedule, ticket(), early)
    assert schedule.promote(early) == [early]


def test_who_leaves_the_queue_is_forgotten(schedule):
    running, waiting = [ticket(), ticket()], ticket()
    entered(schedule, *running, waiting)
    assert schedule.loads() == {ToolKey("up", "t"): Load(2, 1)}
    assert schedule.leave(waiting) == []
    for each in running:
        schedule.leave(each)
    assert schedule.loads() == {}
    assert not schedule._lanes
    assert not schedule._tenants


@pytest.mark.parametrize(("remaining_s", "num_samples", "expected"), [(1.0, 10.0, True), (3.0, 10.0, False), (1.0, 2.0, False)])
def test_a_wait_is_hopeless_only_by_a_forecast_that_rests_on_something(remaining_s, num_samples, expected):
    assert is_hopeless(Forecast(2.0, 4.0, 6.0, 8.0, num_samples), remaining_s) is expected


def test_a_waiter_that_is_cancelled_as_it_is_let_in_gives_its_slot_on():
    async def scenario():
        slots = Slots(Schedule(max_queued=9, max_tenant_running=1))
        first, second, third = ticket(1.0), ticket(2.0), ticket(3.0)
        await slots.enter(first)
        waiting = [asyncio.create_task(slots.enter(each)) for each in (second, third)]
        await asyncio.sleep(1)
        slots.leave(first)
        waiting[0].cancel()
        await asyncio.wait(waiting)
        before = [task.cancelled() for task in waiting], slots.loads()
        slots.leave(third)
        return before, slots.loads()

    (cancelled, loads), after = run_virtual(scenario())
    assert cancelled == [True, False]
    assert loads == {ToolKey("up", "t"): Load(1, 0)}
    assert after == {}
