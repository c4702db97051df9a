"""The record of one program: what goes in comes out, and its sums are right at every moment."""

from __future__ import annotations

import pytest

from turnwise.proxy.programs.record import PAGE_CALLS, Record
from turnwise.proxy.programs.values import Basis, Call, EngineTimes, Key, Link, LinkKind, Outcome, Times
from turnwise.turns import ToolCall
from turnwise.types import CallId, DialectName, ProgramId, ReplicaId

KEY = Key(ProgramId("0123456789abcdef"), "", "tenant", "session", 0, bytes(16), bytes(8), None, True, 100.0, Basis.NEW)
MANY = 3 * PAGE_CALLS + 2


def call_of(number: int, agent: int = 0) -> Call:
    began = 100.0 + number
    return Call(
        CallId(f"tw-{number}"),
        f"request-{number}",
        agent,
        number,
        Basis.LINEAGE,
        (Link(LinkKind.CONTINUE, CallId(f"tw-{number - 1}")),) if number else (),
        Times(began, began, began, began, began, ended=began + 0.5),
        DialectName.CHAT,
        "model",
        ReplicaId("a"),
        200,
        "",
        is_stream=True,
        attempt=0,
        attempts=(),
        finish_reason="tool_calls",
        response_id=None,
        prompt_tokens=100,
        cached_tokens=60 if number % 2 else None,
        predicted_tokens=60,
        completion_tokens=7,
        max_tokens=None,
        tools=(ToolCall(f"call-{number}", "search"),),
        runs=(),
        is_final=False,
    )


def filled(count: int) -> Record:
    record = Record(KEY, KEY.started_at)
    for number in range(count):
        record.started(0, 100.0 + number)
        record.ended(call_of(number))
    return record


@pytest.mark.parametrize("count", [0, 1, PAGE_CALLS - 1, PAGE_CALLS, PAGE_CALLS + 1, MANY])
def test_all_finished_calls_come_out_as_they_went_in(count: int) -> None:
    record = filled(count)
    assert record.calls() == tuple(map(call_of, range(count)))
    assert record.num_calls == count


@pytest.mark.parametrize("number", [0, PAGE_CALLS - 1, PAGE_CALLS, MANY - 1])
def test_what_an_engine_says_of_a_call_changes_that_call_alone(number: int) -> None:
    record, times = filled(MANY), EngineTimes(0.25, 0.5, 2.0)
    assert record.replace_engine_times(CallId(f"tw-{number}"), times)
    calls = record.calls()
    assert calls[number].engine == times
    assert [call for call in calls if call.call_id != f"tw-{number}"] == [call_of(at) for at in range(MANY) if at != number]


@pytest.mark.parametrize("unknown", ["tw-99", "tw-", "", "request-3", "call-1"])
def test_engine_times_of_an_unknown_call_change_nothing(unknown: str) -> None:
    record = filled(MANY)
    assert not record.replace_engine_times(CallId(unknown), EngineTimes(0.25, 0.5, 2.0))
    assert record.calls() == tuple(map(call_of, range(MANY)))


def test_a_summary_sums_up_the_calls_that_ended_and_counts_those_in_flight() -> None:
    record = filled(3)
    record.started(agent=4, now=104.0)
    row = record.summary(110.0, outcome=Outcome.ANSWERED, waiting=2)
    assert (row.calls, row.tools, row.agents, row.running, row.waiting) == (3, 3, 5, 1, 2)
    assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens) == (300, 60, 21)
    assert row.reported_prompt_tokens == 100
    assert record.summary(110.0, unix_zero=1e9).started_at == 1e9 + 100
    assert (row.age_s, row.quiet_s, row.model, row.outcome) == (10.0, 6.0, "model", Outcome.ANSWERED)
