"""Every turn is given back once, however its call ends."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.agents import World, says, user

from turnwise.errors import Overloaded, Reason
from turnwise.index import KvIndex
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import RECORDED_AT_ONCE, Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.programs.graph import blocks
from turnwise.settings import Replica, Settings
from turnwise.types import Hit, Placement, ReplicaId, Terms

HERE = Placement(
    replica=ReplicaId("a"), policy="kv_aware", reason="only_one", prompt_tokens=8, is_taught=False, hit=Hit(), terms=Terms()
)


class Heard:
    """Keeps the calls that listeners are told of."""

    def __init__(self):
        self.calls = []
        self.all = []

    def call_ended(self, _key, call):
        self.calls.append(call)
        self.all.append(call)

    def program_ended(self, ended):
        self.all.append(ended)


def fleet_of_one() -> Fleet:
    settings = Settings(replicas=(Replica(url="http://a:1", name="a"),))
    return Fleet(settings, KvIndex(settings.index))


def recorder_of(world: World, heard: Heard, fleet: Fleet, *, tells_later: bool = False) -> Recorder:
    return Recorder(
        KvIndex(Settings().index),
        fleet,
        Metrics(),
        Audit(),
        lambda: world.now,
        programs=world.programs,
        listeners=[heard],
        tells_later=tells_later,
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Overloaded("no", reason=Reason.NO_REPLICA), "no_replica"),
        (asyncio.CancelledError(), "client_gone"),
        (KeyError("a bug"), "bug"),
    ],
)
def test_a_call_that_was_not_served_runs_no_longer_and_says_why(error, reason):
    world, heard = World(), Heard()
    turn = world.begin(user("Go."))
    recorder_of(world, heard, fleet_of_one()).dropped(turn, error)
    assert [call.reason for call in heard.calls] == [reason]
    assert [summary.running for summary in world.programs.listing(world.now)] == [0]


def test_a_bug_behind_the_end_of_a_call_does_not_end_it_twice():
    world, heard = World(), Heard()
    turn = world.call(user("Go."), answer=says("Done."))
    recorder_of(world, heard, fleet_of_one()).dropped(turn, KeyError("a bug"))
    assert heard.calls == []
    assert [(summary.calls, summary.running) for summary in world.programs.listing(world.now)] == [(1, 0)]


class Waits:
    """Calls that end one after the other at a recorder which is to tell of them later."""

    def __init__(self):
        self.world, self.heard = World(), Heard()
        self.fleet = fleet_of_one()
        self.recorder = recorder_of(self.world, self.heard, self.fleet, tells_later=True)

    def call(self, *turns):
        turn = self.world.begin(*turns)
        self.settle(turn)
        return turn.call_id

    def settle(self, turn):
        with self.fleet.book(turn.request, HERE, self.world.now) as lease:
            self.recorder.settle(turn.request, turn, self.world.outcome(turn, says("Done.")), lease)


@pytest.fixture
def waits():
    return Waits()


def test_listeners_hear_of_calls_together_and_in_their_order(waits):
    ids = [waits.call(user(f"Task {number}.")) for number in range(RECORDED_AT_ONCE - 1)]
    assert waits.heard.calls == []
    ids.append(waits.call(user("One more.")))
    assert [call.call_id for call in waits.heard.calls] == ids


def test_few_calls_are_told_of_when_somebody_asks(waits):
    ids = [waits.call(user("Go.")), waits.call(user("And go."))]
    assert waits.heard.calls == []
    waits.recorder.tell_calls()
    assert [call.call_id for call in waits.heard.calls] == ids


def test_where_nobody_tells_later_a_call_is_told_of_when_it_ends():
    world, heard, fleet = World(), Heard(), fleet_of_one()
    recorder = recorder_of(world, heard, fleet)
    turn = world.begin(user("Go."))
    with fleet.book(turn.request, HERE, world.now) as lease:
        recorder.settle(turn.request, turn, world.outcome(turn, says("Done.")), lease)
    assert [call.call_id for call in heard.calls] == [turn.call_id]


def test_beginnings_and_ends_of_calls_are_counted_so_that_a_turn_without_any_is_known(waits):
    turn = waits.world.begin(user("Go."))
    waits.recorder.begin(turn.request, {})
    assert waits.recorder.num_steps == 1
    waits.settle(turn)
    assert waits.recorder.num_steps == 2


def test_a_call_that_is_dropped_is_told_of_behind_those_that_ended_before_it(waits):
    first = waits.call(user("Go."))
    turn = waits.world.begin(user("And go."))
    waits.recorder.dropped(turn, KeyError("a bug"))
    assert [call.call_id for call in waits.heard.calls] == [first, turn.call_id]


def test_whoever_asks_for_a_program_sees_calls_that_nobody_was_told_of_yet(waits):
    turn = waits.world.begin(user("Go."))
    waits.settle(turn)
    assert [row.calls for row in waits.world.programs.listing(waits.world.now)] == [1]
    assert [call.call_id for call in waits.world.programs.calls(turn.key.id)[1]] == [turn.call_id]
    assert [block.kind for block in blocks(waits.world.programs.graph(turn.key.id))] == ["system", "user", "assistant"]
    waits.recorder.tell_calls()
    assert [call.call_id for call in waits.heard.calls] == [turn.call_id]


def test_a_program_is_told_of_behind_its_calls(waits):
    turn = waits.world.begin(user("Go."))
    waits.settle(turn)
    waits.world.now += 1e6
    waits.recorder.sweep_programs()
    assert [type(one).__name__ for one in waits.heard.all] == ["Call", "Ended"]
