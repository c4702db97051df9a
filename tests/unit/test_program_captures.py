"""What real clients sent, against what was found by hand: which call follows which, and which are one program."""

import pytest
from tests.unit.captured_programs import LABELS, f1, fields_of, replay, rows_of, together

from turnwise.proxy.programs.values import Basis, LinkKind

LABELLED = {name: {tuple(edge) for edge in label["edges"]} for name, label in LABELS.items() if "edges" in label}
SAME_RUN = {
    "langgraph_traceparent": LABELLED["langgraph"],
    "anth_thread_unsupported": {(1, 2, "continue"), (2, 3, "continue")},  # the whole history again, without a thread
}
"""Files whose label has a scenario and no edges: those of the scenario."""

AS_SENT = {
    "anth": [{0, 1, 2}, {3, 4, 5}],
    "anth_thread_lost": [{4}],
    "anth_thread_unsupported": [{1, 2, 3}],
    "cli_aider": [{0}],
    "cli_claude": [{1, 2, 3}],
    "cli_claude_subagents": [set(range(1, 12))],
    "cli_codex": [{0, 1, 2}],
    "cli_opencode": [{0, 1, 2, 3}],
    "cli_qwen": [{0, 1, 2}],
    "langgraph": [{0, 1, 2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}],
    "langgraph_traceparent": [set(range(10))],
    "litellm": [{0, 1, 2}, {3}, {4, 5, 6}, {7}, {8, 9, 10}, {11}],
    "oagents_chat": [{0, 1, 2}, {3}],
    "oagents_responses": [{0, 1, 2}, {3}],
    "oai_chat": [{0, 1, 2}, {3, 4, 5}],
    "oai_responses": [{0, 1}, {2}],
    "smolagents": [{0, 1, 2, 3, 4}, {5, 6}, {7, 8}],
}
"""A user's words after a final answer begin the next program of the session."""


@pytest.mark.parametrize("name", sorted(LABELLED | SAME_RUN))
def test_without_ids_and_headers_calls_are_linked_as_found_by_hand(name):
    wanted, found = (LABELLED | SAME_RUN)[name], replay(rows_of(name), is_stripped=True).edges()
    print(f"{name}: F1 {f1(wanted, found):.3f} of {len(wanted)} edges")  # noqa: T201 - shown by `pytest -s`
    assert f1(wanted, found) >= 0.95


def test_over_all_labelled_captures_edges_are_found_and_none_is_made_up():
    wanted = {(name, *edge) for name, edges in LABELLED.items() for edge in edges}
    found = {(name, *edge) for name in LABELLED for edge in replay(rows_of(name), is_stripped=True).edges()}
    print(f"all: F1 {f1(wanted, found):.3f} of {len(wanted)} edges")  # noqa: T201 - shown by `pytest -s`
    assert f1(wanted, found) >= 0.95


@pytest.mark.parametrize("name", sorted(AS_SENT))
def test_every_call_as_sent_is_in_its_program(name):
    assert replay(rows_of(name)).groups() == set(map(frozenset, AS_SENT[name]))


def test_what_nothing_on_the_wire_tells_is_unknown():
    replayed = replay(rows_of("langgraph"), is_stripped=True)
    sent = [replayed.turns[seq] for seq in (5, 6, 7, 8, 9)]
    assert [(turn.basis, turn.links) for turn in sent] == [(Basis.NEW, ())] * 5
    assert len({turn.key.id for turn in sent}) == 5


def test_a_session_that_is_gone_on_with_is_one_session_and_two_programs_with_a_link_across():
    replayed = replay(together("cli_claude", "cli_claude_continue"))
    first, last, second = (replayed.turns[seq] for seq in (("cli_claude", 1), ("cli_claude", 3), ("cli_claude_continue", 1)))
    assert len(replayed.groups()) == 2
    assert first.key.session == second.key.session != ""
    (link,) = second.links
    assert (link.kind, link.call_id, link.program) == (LinkKind.CONTINUE, last.call_id, first.key.id)
    assert (second.key.follows, second.key.epoch) == (first.key.id, first.key.epoch + 1)


def test_the_calls_of_one_sampled_trace_are_one_program_with_its_fan_out():
    rows = [
        {**row, "headers": {name.decode(): value.decode() for name, value in fields_of(row).items() if name != b"baggage"}}
        for row in rows_of("langgraph_traceparent")
    ]
    replayed = replay(rows)
    assert replayed.groups() == {frozenset(range(10))}
    turns = replayed.turns
    assert [turns[seq].basis for seq in (0, 1, 5, 9)] == [Basis.TRACE, Basis.LINEAGE, Basis.TRACE, Basis.TRACE]
    assert turns[0].key.trace_id.hex() == "7086d6786c09fa5f1b4b836284833701"
    assert turns[0].key.parent_span.hex() == "945e8cf907538955"
    assert len({turns[seq].agent for seq in (4, 5, 6, 7, 8, 9)}) == 6


def test_sub_agents_are_conversations_of_their_own_and_their_time_is_that_of_the_tool():
    turns = replay(rows_of("cli_claude_subagents")).turns
    assert [(turns[seq].agent, turns[seq].number) for seq in (1, 2, 3, 4, 8, 11)] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (3, 0),
        (1, 2),
        (0, 1),
    ]
    assert turns[2].agent_name == "addedfc158c843a97"
    runs = turns[11].runs
    assert [(run.name, run.caller, run.is_conversation) for run in runs] == [("Agent", turns[1].call_id, True)] * 3
    assert all(run.started_at == pytest.approx(2.3162) and run.ended_at == pytest.approx(3.5951) for run in runs)


def test_a_tool_run_lasts_from_the_answer_that_called_it_to_the_call_that_brings_its_result():
    turns = replay(rows_of("cli_codex")).turns
    (run,) = turns[1].runs
    assert (run.name, run.caller, run.is_inferred) == ("exec_command", turns[0].call_id, True)
    assert (run.started_at, run.ended_at) == (0.7134, 0.8248)


def test_a_side_call_of_a_session_belongs_to_the_program_that_goes_on():
    replayed = replay(rows_of("cli_opencode"))
    title = replayed.turns[1]
    assert (title.basis, title.agent, title.links) == (Basis.SESSION, 1, ())
    (row,) = replayed.programs.listing(10.0)
    assert (row.calls, row.agents, row.running, row.waiting) == (4, 2, 0, 0)


def test_a_second_run_under_one_cache_key_is_the_sessions_second_program():
    replayed = replay(rows_of("oai_chat"))
    first, second = replayed.turns[0].key, replayed.turns[3].key
    assert first.session == second.session != ""
    assert second.follows == first.id
