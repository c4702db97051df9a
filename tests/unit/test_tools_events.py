"""Runs of tools as the tools gateway tells them, in programs: early ones, void ones, those that go on."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import pytest
from tests.unit.agents import World, calls, result, says, user
from tests.unit.test_programs_elsewhere import crew

from turnwise.events import ToolEvent, ToolHow, ToolStep
from turnwise.proxy.gateway import event_of
from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.programs.ledger import account
from turnwise.proxy.programs.lines import MAX_TOLD
from turnwise.proxy.programs.pauses import Left, Pauses, Source
from turnwise.proxy.programs.record import MAX_VOID_RUNS
from turnwise.proxy.programs.values import EXPIRED, VOID, Told
from turnwise.proxy.programs.waterfall import waterfall
from turnwise.tools_gateway.messages import ToolTold, Void
from turnwise.types import CallId, ProgramId

GO = user("Look at the folder.")
LS = calls(("call_1", "ls"))


def event(turn: str, *times: float, tool_call_id: str = "call_1", **more) -> ToolEvent:
    """A run queued, started and ended at these times; finished unless `more` says otherwise."""
    queued_at, started_at, ended_at = times
    return ToolEvent(
        tool_call_id, queued_at, started_at, ended_at, turn=CallId(turn), tool="files__ls", told_at=ended_at, **more
    )


def tell(world: World, turn, *times: float, **more) -> Told:
    return world.programs.tool_event(event(turn.call_id, *times, **more), turn.key.id)


def answered(world: World, turns, answer=None):
    """A call that brings a result and is answered; its record."""
    turn = world.begin(*turns)
    return world.end(turn, answer or says("It is empty."))


def early_world(*times: float, **more):
    """A call from 1 to 2 whose tool ran at these times, and the call from 3 to 4 that brings its result."""
    world = World()
    first = world.begin(GO)
    assert tell(world, first, *times, how=ToolHow.EARLY, **more) is Told.TAKEN
    world.end(first, LS)
    last = answered(world, (GO, LS, result("call_1")))
    _, done = world.programs.calls(first.key.id)
    return world, first, last, done


def test_a_run_that_began_while_its_answer_was_written_keeps_its_true_times_and_says_what_that_saved():
    _, _, last, done = early_world(1.25, 1.5, 2.75, predicted_s=1.0, claimed_at=2.25)
    (run,) = last.runs
    assert (run.queued_at, run.started_at, run.ended_at) == (1.25, 1.5, 2.75)
    assert (run.is_inferred, run.how, run.saved_s, run.predicted_s, run.has_joined) == (False, ToolHow.EARLY, 0.5, 1.0, True)
    ledger = account(done, 1.0, ())
    assert [(stretch.node, stretch.start, stretch.end) for stretch in ledger.path if stretch.cause is not Cause.TOOL_QUEUE] == [
        *((stretch.node, stretch.start, stretch.end) for stretch in ledger.path if stretch.node == done[0].call_id),
        (f"{done[0].call_id}/call_1", 1.5, 2.75),
        (last.call_id, 2.75, 3.0),
        *((stretch.node, stretch.start, stretch.end) for stretch in ledger.path if stretch.start >= 3.0),
    ]
    assert all(left.end == right.start for left, right in pairwise(ledger.path))
    assert math.fsum(ledger.causes.values()) == pytest.approx(ledger.makespan_s) == 3.0
    assert (ledger.causes[Cause.TOOL_QUEUE], ledger.causes[Cause.TOOL_RUN]) == (0.25, 1.25)


def test_a_run_that_ended_before_its_answer_is_off_the_path_and_all_of_it_is_saved():
    _, first, last, done = early_world(1.25, 1.25, 1.75, claimed_at=2.5)
    assert (last.runs[0].has_joined, last.runs[0].held_s) == (True, 0.75)
    assert last.runs[0].saved_s == 0.5
    ledger = account(done, 1.0, ())
    name = f"{first.call_id}/call_1"
    assert name not in {stretch.node for stretch in ledger.path}
    assert ledger.slack[name] == 1.25
    assert [stretch.cause for stretch in ledger.path if 2.0 <= stretch.start < 3.0] == [Cause.CLIENT]


def test_what_another_clock_measured_is_still_cut_to_the_end_of_its_answer():
    world = World()
    first = world.begin(GO)
    world.end(first, LS)
    assert world.tool_event(first, "call_1", 1.25, 1.5, 2.5)
    (run,) = answered(world, (GO, LS, result("call_1"))).runs
    assert (run.queued_at, run.started_at, run.ended_at, run.saved_s) == (2.0, 2.0, 2.5, 0.0)


@pytest.mark.parametrize(
    ("how", "claimed_at", "marks"),
    [
        (ToolHow.ASKED, 1.5, ()),
        (ToolHow.EARLY, 1.5, ("early",)),
        (ToolHow.EARLY, 2.0, ("early", "joined")),
        (ToolHow.EARLY, 2.75, ("early", "joined")),
        (ToolHow.SHARED, 2.0, ("shared", "joined")),
        (ToolHow.REMEMBERED, 2.5, ("remembered",)),
    ],
)
def test_the_picture_says_how_a_run_came_about(how, claimed_at, marks):
    world = World()
    first = world.begin(GO)
    assert tell(world, first, 1.5, 1.5, 2.5, how=how, claimed_at=claimed_at, predicted_s=0.75) is Told.TAKEN
    world.end(first, LS)
    answered(world, (GO, LS, result("call_1")))
    _, done = world.programs.calls(first.key.id)
    (row,) = [row for row in waterfall(done, account(done, 1.0, ())) if row.kind == "tool"]
    assert (row.marks, row.saved_s, row.predicted_s, row.start_s) == (marks, 0.5, 0.75, 0.5)
    assert (row.claimed_s, row.held_s) == (claimed_at - 1.0, max(0.0, claimed_at - 2.5) if how is ToolHow.EARLY else 0.0)


def test_a_run_of_which_only_the_beginning_was_told_is_inferred_from_the_gap():
    world = World()
    first = world.begin(GO)
    tell(world, first, 1.5, 1.5, 1.5, step=ToolStep.STARTED)
    world.end(first, LS)
    (run,) = answered(world, (GO, LS, result("call_1"))).runs
    assert (run.is_inferred, run.started_at, run.ended_at) == (True, 2.0, 3.0)


def test_a_void_run_is_shown_and_told_with_its_program_and_is_nothings_reason():
    world = World()
    first = world.begin(GO)
    tell(world, first, 1.25, 1.25, 1.25, how=ToolHow.EARLY, step=ToolStep.STARTED)
    world.end(first, LS, status=500)
    assert tell(world, first, 2.5, 2.5, 2.5, how=ToolHow.EARLY, step=ToolStep.VOID) is Told.TAKEN
    assert world.programs.waits(first.key.id, 2.5) == ()
    again = world.begin(GO)
    world.end(again, says("It is empty."))
    assert again.key == first.key
    _, done = world.programs.calls(first.key.id)
    voided = world.programs.void_runs(first.key.id)
    ledger = account(done, 1.0, ())
    (row,) = [row for row in waterfall(done, ledger, voided=voided) if row.kind == "tool"]
    assert (row.label, row.marks, row.on_path, row.start_s, row.end_s) == ("files__ls", (VOID,), False, 0.25, 1.5)
    assert ledger.tool_runs == 0
    (ended,) = world.programs.close(10.0)
    assert ended.voided == voided
    assert len(voided) == 1


def unasked_world(**settings):
    """A call whose tool the gateway ran early, and the call that brings the result of the agent's own run."""
    world = World(**settings)
    first = world.begin(GO)
    tell(world, first, 1.25, 1.25, 1.75, how=ToolHow.EARLY)
    world.end(first, LS)
    return world, first, answered(world, (GO, LS, result("call_1"), user("And then?")), calls(("call_2", "ls")))


def test_a_run_that_no_agent_asked_for_is_expired_and_gave_no_result():
    world, first, own = unasked_world()
    assert [(run.is_inferred, run.started_at, run.ended_at, run.how) for run in own.runs] == [(True, 2.0, 3.0, ToolHow.ASKED)]
    assert tell(world, first, 32.0, 32.0, 32.0, step=ToolStep.VOID, is_expired=True) is Told.TAKEN
    (voided,) = world.programs.void_runs(first.key.id)
    assert (voided.waste, voided.started_at, voided.ended_at) == (EXPIRED, 1.25, 1.75)
    _, done = world.programs.calls(first.key.id)
    rows = [row for row in waterfall(done, account(done, 1.0, ()), voided=(voided,)) if row.kind == "tool"]
    assert [(row.label, row.marks, row.is_inferred, row.on_path) for row in rows] == [
        ("files__ls", (EXPIRED,), False, False),
        ("ls", (), True, True),
    ]


def test_a_run_that_nobody_can_ask_for_any_more_is_expired_though_the_gateway_has_not_said_so():
    world, first, _ = unasked_world()
    assert world.programs.void_runs(first.key.id) == ()
    said = [GO, LS, result("call_1"), user("And then?"), calls(("call_2", "ls")), result("call_2")]
    answered(world, said)
    assert [run.waste for run in world.programs.void_runs(first.key.id)] == [EXPIRED]


def test_a_program_that_ends_tells_of_its_runs_that_no_agent_asked_for_once():
    world, first, _ = unasked_world()
    world.programs.end(first.key.id, world.now)
    (ended,) = world.programs.sweep(world.now)
    assert [(run.waste, run.ended_at) for run in ended.voided] == [(EXPIRED, 1.75)]
    assert tell(world, first, 32.0, 32.0, 32.0, step=ToolStep.VOID, is_expired=True) is Told.TAKEN
    assert world.programs.void_runs(first.key.id) == ended.voided


def test_what_was_void_before_it_began_is_no_run():
    world = World()
    first = world.begin(GO)
    tell(world, first, 1.5, 1.5, 1.5, step=ToolStep.ANNOUNCED)
    tell(world, first, 1.75, 1.75, 1.75, step=ToolStep.VOID)
    assert world.programs.void_runs(first.key.id) == ()
    assert world.programs.waits(first.key.id, 2.0) == ()


def test_runs_that_are_kept_are_bounded():
    world = World()
    first = world.begin(GO)
    for number in range(2 * MAX_TOLD):
        tell(world, first, 1.0, 1.0, 1.5, tool_call_id=f"void_{number}")
        tell(world, first, 1.0, 1.0, 1.5, tool_call_id=f"void_{number}", step=ToolStep.VOID)
    for number in range(2 * MAX_TOLD):
        tell(world, first, 1.0, 1.0, 1.5, tool_call_id=f"call_{number}")
    assert len(world.programs.waits(first.key.id, 2.0)) == MAX_TOLD
    assert len(world.programs.void_runs(first.key.id)) == MAX_VOID_RUNS


def test_a_tool_call_that_waits_tells_how_far_its_run_has_come_while_it_is_written_and_after():
    world = World(pauses=Pauses(8))
    first = world.begin(GO)
    tell(world, first, 1.5, 1.5, 1.5, how=ToolHow.EARLY, step=ToolStep.STARTED, remaining_s=2.0)
    ((waiting, left),) = world.programs.waits(first.key.id, 2.0)
    assert (waiting.tool_call_id, waiting.tool, waiting.told.step, left) == (
        "call_1",
        "files__ls",
        "started",
        Left(1.5, Source.MEASURED),
    )
    world.end(first, LS)
    tell(world, first, 1.5, 1.5, 2.25, how=ToolHow.EARLY, step=ToolStep.PROGRESSED, remaining_s=1.0)
    ((waiting, left),) = world.programs.waits(first.key.id, 2.5)
    assert (waiting.tool, waiting.since, waiting.told.step, left) == ("ls", 2.0, "progressed", Left(0.75, Source.MEASURED))
    tell(world, first, 1.5, 1.5, 2.75, how=ToolHow.EARLY)
    ((_, left),) = world.programs.waits(first.key.id, 3.0)
    assert left == Left(0.0, Source.MEASURED)
    world.begin(GO, LS, result("call_1"))
    assert world.programs.waits(first.key.id, 3.0) == ()


def test_the_rest_of_a_run_that_has_not_begun_does_not_pass():
    world = World(pauses=Pauses(8))
    first = world.begin(GO)
    tell(world, first, 1.5, 1.5, 1.5, step=ToolStep.ANNOUNCED, remaining_s=2.0)
    ((_, left),) = world.programs.waits(first.key.id, 3.5)
    assert left == Left(2.0, Source.MEASURED)


def test_what_is_told_of_calls_that_are_not_known_is_left():
    world = World()
    first = world.begin(GO)
    known = event(first.call_id, 1.0, 1.0, 1.0)
    assert world.programs.tool_event(known, "unknown") is Told.UNKNOWN
    assert world.programs.tool_event(msgspec.structs.replace(known, turn=CallId("other")), first.key.id) is Told.UNKNOWN
    assert world.programs.tool_event(msgspec.structs.replace(known, tool_call_id=""), first.key.id) is Told.UNKNOWN
    assert world.programs.waits(ProgramId("unknown"), 2.0) == ()
    assert world.programs.void_runs(ProgramId("unknown")) == ()


def test_any_worker_knows_the_runs_that_one_was_told_of():
    one, two = crew(2)
    world = World()
    world.programs = one
    first = world.begin(GO)
    assert tell(world, first, 1.25, 1.5, 2.5, how=ToolHow.EARLY, claimed_at=2.0) is Told.TAKEN
    assert tell(world, first, 1.0, 1.0, 1.5, tool_call_id="gone") is Told.TAKEN
    assert tell(world, first, 1.75, 1.75, 1.75, tool_call_id="gone", step=ToolStep.VOID) is Told.TAKEN
    world.end(first, LS)
    world.programs = two
    (run,) = answered(world, (GO, LS, result("call_1"))).runs
    assert (run.started_at, run.ended_at, run.how) == (1.5, 2.5, ToolHow.EARLY)
    assert two.void_runs(first.key.id) == one.void_runs(first.key.id) != ()


def test_a_message_of_the_gateway_is_an_event_whose_missing_times_are_its_own():
    told = ToolTold(CallId("turn"), 0, "call_1", "p", "git__log", ToolStep.QUEUED, 7.0, ToolHow.EARLY, 6.5, remaining_s=2.0)
    assert event_of(told) == ToolEvent(
        "call_1", 6.5, 7.0, 7.0, how=ToolHow.EARLY, step=ToolStep.QUEUED, remaining_s=2.0, told_at=7.0, turn=CallId("turn"),
        tool="git__log",
    )  # fmt: skip
    void = msgspec.structs.replace(told, step=ToolStep.VOID)
    assert [event_of(msgspec.structs.replace(void, why=why)).is_expired for why in (Void.EXPIRED, Void.LENGTH, None)] == [
        True,
        False,
        False,
    ]


def test_a_program_learns_of_its_own_gaps():
    pauses = Pauses(8)
    world = World(pauses=pauses)
    first = world.call(GO, answer=LS)
    answered(world, (GO, LS, result("call_1")))
    (known,) = pauses.listing()
    assert (known.tenant, known.tool, known.source) == (first.key.tenant, "ls", Source.INFERRED)
