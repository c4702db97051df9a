"""Ledgers of what real clients sent and of replayed traces: nothing left over, and next to nothing unexplained."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from tests.unit.captured_programs import FOLDER, replay, rows_of

from turnwise.proxy.programs.causes import Cause
from turnwise.proxy.programs.ledger import account
from turnwise.proxy.replay.bodies import text_body
from turnwise.proxy.replay.drive import Pacing, play
from turnwise.proxy.replay.formats import read_trace

TRACES = Path(__file__).parents[1] / "data" / "traces"
CAPTURES = [path.stem for path in sorted(FOLDER.glob("*.jsonl")) if path.stem != "anth_thread_plain"]
"""Those that have a call with a prompt."""


def held(ledger, began, ended):
    """Assert what must hold of any ledger."""
    assert ledger.started_at == pytest.approx(began, abs=1e-9)
    assert ledger.makespan_s == pytest.approx(ended - began, abs=1e-9)
    assert math.fsum(ledger.causes.values()) == pytest.approx(ended - began, abs=1e-9)
    assert all(left.end == right.start for left, right in pairwise(ledger.path))
    assert ledger.causes.get(Cause.UNATTRIBUTED, 0.0) <= 0.02 * ledger.makespan_s


@pytest.mark.parametrize("is_stripped", [False, True], ids=["as sent", "stripped"])
@pytest.mark.parametrize("name", CAPTURES)
def test_the_time_of_every_captured_program_is_accounted_for(name, is_stripped):
    rows = {row["seq"]: row for row in rows_of(name)}
    replayed = replay(list(rows.values()), is_stripped=is_stripped)
    programs = replayed.programs.close(1e6)
    assert programs
    for program in programs:
        own = [rows[seq] for seq, turn in replayed.turns.items() if turn.key.id == program.key.id]
        ledger = account(program.calls, program.key.started_at, ())
        held(ledger, min(row["t_arrive_s"] for row in own), max(row["t_done_s"] for row in own))


def test_the_path_of_a_captured_fork_goes_through_the_branch_that_was_joined_last():
    rows = {row["seq"]: row for row in rows_of("cli_claude_subagents")}
    replayed = replay(list(rows.values()))
    (program,) = replayed.programs.close(1e6)
    ledger = account(program.calls, program.key.started_at, ())
    numbers = {turn.call_id: seq for seq, turn in replayed.turns.items()}
    path = [numbers[stretch.node] for stretch in ledger.path if stretch.node in numbers and not stretch.is_gap]
    assert list(dict.fromkeys(path)) == [1, 4, 7, 10, 11]
    assert ledger.forks == 3
    assert ledger.causes[Cause.JOIN_WAIT] == pytest.approx(rows[11]["t_arrive_s"] - rows[10]["t_done_s"])
    assert ledger.causes[Cause.TOOL_RUN] == pytest.approx(
        rows[7]["t_arrive_s"] - rows[4]["t_done_s"] + rows[10]["t_arrive_s"] - rows[7]["t_done_s"]
    )
    assert ledger.causes[Cause.CLIENT] == pytest.approx(rows[4]["t_arrive_s"] - rows[1]["t_done_s"])
    slack = {numbers[name]: slack for name, slack in ledger.slack.items() if name in numbers}
    expected = {8: rows[11]["t_arrive_s"] - rows[8]["t_done_s"], 9: rows[11]["t_arrive_s"] - rows[9]["t_done_s"]}
    assert {seq: slack[seq] for seq in expected} == pytest.approx(expected)


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("name", ["mooncake.jsonl", "weka.jsonl", "fan_in.json"])
def test_the_time_of_every_replayed_session_is_accounted_for(virtually, world, name, is_open):
    trace = read_trace(TRACES / name)
    times = {}

    async def main():
        async with world(2, preset="h100-8b", num_blocks=20_000, max_model_len=300_000) as proxy:

            async def send(session, call):
                began = proxy.clock()
                headers = ((b"x-turnwise-program", session.name.encode()),)
                client = await proxy.call(text_body(call, "sim", trace.block_size), headers=headers)
                assert client.head.status == 200
                times.setdefault(session.name, []).append((began, proxy.clock()))

            await play(trace.sessions, Pacing(is_open=is_open, live=4, ramp_s=5.0), send)
            return proxy.programs.close(proxy.clock())

    programs = virtually(main())
    assert len(programs) == len(trace.sessions)
    for program in programs:
        own = times[program.key.name]
        ledger = account(program.calls, program.key.started_at, ())
        assert ledger.llm_calls == len(own)
        held(ledger, min(began for began, _ in own), max(ended for _, ended in own))
