"""Every turn is given back once, however its call ends."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.agents import World, says, user

from turnwise.errors import Overloaded, Reason
from turnwise.index import KvIndex
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.settings import Settings


class Heard:
    """Keeps the calls that listeners are told of."""

    def __init__(self):
        self.calls = []

    def call_ended(self, _key, call):
        self.calls.append(call)

    def program_ended(self, ended):
        pass


def recorder_of(world: World, heard: Heard) -> Recorder:
    settings = Settings()
    index = KvIndex(settings.index)
    fleet = Fleet(settings, index)
    return Recorder(index, fleet, Metrics(), Audit(), lambda: world.now, programs=world.programs, listeners=[heard])


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
    recorder_of(world, heard).dropped(turn, error)
    assert [call.reason for call in heard.calls] == [reason]
    assert [summary.running for summary in world.programs.listing(world.now)] == [0]


def test_a_bug_behind_the_end_of_a_call_does_not_end_it_twice():
    world, heard = World(), Heard()
    turn = world.call(user("Go."), answer=says("Done."))
    recorder_of(world, heard).dropped(turn, KeyError("a bug"))
    assert heard.calls == []
    assert [(summary.calls, summary.running) for summary in world.programs.listing(world.now)] == [(1, 0)]
