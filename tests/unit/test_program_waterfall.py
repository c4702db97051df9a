"""The rows of a program's picture."""

import math

import msgspec
import pytest
from tests.unit.told_calls import ran, told

from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.programs.ledger import account
from turnwise.proxy.programs.waterfall import RowKind, waterfall

CALLS = (
    told("a", 100.0, 101.0, tools=["x", "y"]),
    told(
        "s", 101.5, 103.0, ("spawn", "a"), agent=1, agent_name="scout", is_final=True, cached_tokens=None, reason="client_gone"
    ),
    told(
        "b",
        105.0,
        107.0,
        ("continue", "a"),
        ("join", "s"),
        runs=[
            ran("a", 101.2, 102.0, name="bash", is_inferred=False, is_ok=False),
            ran("a", 101.0, 105.0, number=1, name="agent", is_conversation=True),
        ],
        is_final=True,
    ),
    told("side", 105.5, 106.0),
)


def rows_of(*calls, **more):
    calls = sorted(calls, key=lambda call: call.times.ended)
    ledger = account(calls, calls[0].times.arrived, (), **more)
    return {row.id: row for row in waterfall(calls, ledger)}, ledger


def test_every_call_every_tool_run_and_every_gap_of_the_path_has_a_row_in_the_order_of_their_beginnings():
    rows, _ = rows_of(*CALLS)
    assert [(row.kind, row.label) for row in rows.values()] == [
        (RowKind.CALL, "m"),
        (RowKind.GAP, "client"),
        (RowKind.TOOL, "bash"),
        (RowKind.CALL, "m"),
        (RowKind.GAP, "join_wait"),
        (RowKind.CALL, "m"),
        (RowKind.CALL, "m"),
    ]
    assert [row.start_s for row in rows.values()] == sorted(row.start_s for row in rows.values())


def test_a_row_tells_what_there_is_to_tell():
    row = rows_of(*CALLS)[0]["s"]
    assert (row.agent, row.agent_name, row.replica, row.reason, row.is_final) == (1, "scout", "r0", "client_gone", True)
    assert (row.start_s, row.end_s) == (1.5, 3.0)
    assert (row.prompt_tokens, row.cached_tokens, row.predicted_tokens, row.completion_tokens) == (100, None, 80, 10)


def test_a_tool_run_that_failed_says_so():
    rows, _ = rows_of(*CALLS)
    assert [row.label for row in rows.values() if row.reason == "failed"] == ["bash"]


def test_the_bars_of_a_row_sum_to_it():
    rows, _ = rows_of(*CALLS)
    for row in rows.values():
        assert math.fsum(bar.end_s - bar.start_s for bar in row.bars) == pytest.approx(row.end_s - row.start_s)


def test_the_bars_on_the_path_sum_to_the_makespan_by_cause():
    rows, ledger = rows_of(*CALLS)
    found = {}
    for bar in (bar for row in rows.values() for bar in row.bars if bar.on_path):
        found[bar.cause] = found.get(bar.cause, 0.0) + bar.end_s - bar.start_s
    assert found == pytest.approx(ledger.causes)


def test_a_row_off_the_path_says_how_much_longer_it_could_have_taken():
    rows, _ = rows_of(*CALLS)
    assert (rows["a/a-0"].on_path, rows["a/a-0"].slack_s) == (False, 3.0)
    assert (rows["s"].on_path, rows["s"].slack_s) == (True, None)
    assert not any(bar.on_path for bar in rows["side"].bars)


def test_links_say_what_had_to_come_first():
    rows, _ = rows_of(*CALLS)
    assert [(link.kind, link.row) for link in rows["b"].links] == [("continue", "a"), ("join", "s"), ("result", "a/a-0")]
    assert [(link.kind, link.row) for link in rows["a/a-0"].links] == [("tool", "a")]
    assert [(link.kind, link.row) for link in rows["side"].links] == [("barrier", "s")]
    assert all(link.row in rows for row in rows.values() for link in row.links)


def test_a_call_that_its_successor_did_not_wait_for_is_on_the_path_until_then():
    rows, ledger = rows_of(told("a", 0.0, 6.0), told("b", 4.0, 9.0, ("retry", "a")))
    (*_, before, after, tail) = rows["a"].bars
    assert [(bar.cause, bar.start_s, bar.end_s, bar.on_path) for bar in (before, after)] == [
        (Cause.DECODE, 3.0, 4.0, True),
        (Cause.DECODE, 4.0, pytest.approx(5.4), False),
    ]
    assert not tail.on_path
    assert ledger.slack == {}


def test_a_tool_that_nobody_measured_is_on_the_path_where_it_explains_the_gap():
    runs = [ran("a", 1.0, 3.0), ran("a", 1.0, 3.0, number=1)]
    rows, _ = rows_of(told("a", 0.0, 1.0, tools=["x", "y"]), told("b", 3.0, 4.0, ("continue", "a"), runs=runs))
    assert [row.id for row in rows.values()] == ["a", "a/a-0", "a/a-1", "b"]
    assert [rows[name].on_path for name in ("a/a-0", "a/a-1")] == [True, False]
    assert rows["a/a-1"].slack_s == 0.0
    assert rows["a/a-0"].is_inferred


def test_what_a_live_program_waits_for_has_a_row():
    rows, _ = rows_of(told("a", 0.0, 1.0, tools=["bash"]), now=5.0)
    assert (rows["gap-0"].label, rows["gap-0"].end_s, rows["gap-0"].bars[0].cause) == ("bash", 5.0, Cause.TOOL_RUN)


def test_rows_are_json():
    rows, _ = rows_of(*CALLS)
    found = msgspec.json.decode(msgspec.json.encode(tuple(rows.values())))
    assert found[0]["bars"][0]["cause"] == "ingest"
