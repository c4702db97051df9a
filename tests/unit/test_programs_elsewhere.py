"""Several workers know programs as one would."""

from __future__ import annotations

from collections.abc import Container
from functools import partial

import msgspec
import pytest
from tests.unit import captured_programs as captured

from turnwise.proxy.programs import Programs
from turnwise.proxy.programs.elsewhere import MAX_RUNNING, Began, Finished, Over
from turnwise.proxy.programs.values import Basis, Outcome, ToolRun
from turnwise.proxy.workers import messages
from turnwise.proxy.workers.messages import MAX_DATAGRAM_BYTES, Datagram
from turnwise.settings import ProgramSettings, TraceSettings
from turnwise.turns import MAX_ID_CHARS, ToolCall
from turnwise.types import CallId

CAPTURES = ["cli_claude", "cli_codex", "cli_opencode", "cli_qwen", "langgraph_traceparent", "oai_chat", "smolagents", "anth"]


def crew(count: int, settings: ProgramSettings | None = None, lost: Container[type] = ()) -> list[Programs]:
    """Workers that hear each other at once, through the bytes that would go over the bus; news of the types `lost` get lost."""
    workers: list[Programs] = []

    def tell(sender, news):
        if type(news) in lost:
            return
        (data,) = messages.encode(Datagram(sender, news=(news,)))
        (heard,) = messages.decode(data).news
        for number, worker in enumerate(workers):
            if number != sender:
                worker.elsewhere.heard(heard, sender, 0.0)

    settings = settings or ProgramSettings()
    workers += [Programs(settings, TraceSettings(), tell=partial(tell, number)) for number in range(count)]
    return workers


def program_of(worker: Programs, replayed: captured.Replayed, seq: int):
    """Its key and its calls, less what their own worker alone keeps for the graph."""
    key, calls = worker.calls(replayed.turns[seq].key.id)
    return key, [msgspec.structs.replace(call, shape=None) for call in calls]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("is_stripped", [False, True])
@pytest.mark.parametrize("name", CAPTURES)
def test_calls_dealt_to_workers_are_told_as_if_one_had_served_them(name, is_stripped, count):
    rows = captured.rows_of(name)
    alone = captured.replay(rows, is_stripped=is_stripped)
    dealt = captured.replay(rows, is_stripped=is_stripped, workers=crew(count))
    assert dealt.groups() == alone.groups()
    assert dealt.edges() == alone.edges()
    assert {seq: (turn.agent, turn.number) for seq, turn in dealt.turns.items()} == {
        seq: (turn.agent, turn.number) for seq, turn in alone.turns.items()
    }


def test_conversations_that_begin_alike_under_one_cache_key_are_not_mixed_by_workers():
    system = {"role": "system", "content": "You help with what is asked."}
    rows = [
        {
            "seq": seq,
            "path": "/v1/chat/completions",
            "headers": {},
            "t_arrive_s": float(seq),
            "t_done_s": 10.0 + seq,
            "body": {
                "model": "m",
                "prompt_cache_key": "app",
                "messages": [system, {"role": "user", "content": f"Task {seq}."}],
            },
        }
        for seq in range(4)
    ]
    replayed = captured.replay(rows, workers=crew(2))
    assert replayed.groups() == {frozenset({seq}) for seq in range(4)}


def test_every_worker_has_the_records_of_all_calls_of_a_program():
    workers = crew(2)
    replayed = captured.replay(captured.rows_of("cli_codex"), workers=workers)
    assert program_of(workers[0], replayed, 0) == program_of(workers[1], replayed, 0)
    _, calls = program_of(workers[0], replayed, 0)
    assert len(calls) == 3


def test_only_the_worker_that_opened_a_program_tells_of_its_end():
    workers = crew(2)
    captured.replay(captured.rows_of("oai_chat"), workers=workers)
    told = [ended.key.id for worker in workers for ended in worker.sweep(1e9)]
    assert len(told) == len(set(told)) == 2
    assert [worker.stats.live for worker in workers] == [0, 0]


def test_a_program_is_ended_by_its_owner_and_for_all():
    first, second = workers = crew(2)
    replayed = captured.replay(captured.rows_of("cli_codex"), workers=workers)
    program = replayed.turns[0].key.id
    assert not second.end(program, 1.0)
    assert first.end(program, 1.0)
    assert [(ended.key.id, ended.outcome) for ended in first.sweep(1.0)] == [(program, Outcome.ASKED)]
    assert {summary.outcome for worker in workers for summary in worker.listing(1.0)} == {Outcome.ASKED}
    assert second.sweep(1e9) == []


def test_what_a_lost_sibling_was_doing_is_over_and_its_heir_tells_of_its_programs():
    first, second, third = crew(3)
    rows = captured.rows_of("cli_codex")
    reader = captured.Reader(captured.Edits(include_usage=False))
    request, fields = captured.read(reader, rows[0], is_stripped=False)
    assert first.begin(request, fields, 0.0) is not None
    assert second.listing(0.0)[0].running == 1
    second.elsewhere.lost(0, None)
    third.elsewhere.lost(0, 1)
    assert second.listing(0.0)[0].running == 0
    assert [ended.key.session for ended in second.sweep(1e9)] == [fields[b"session-id"].decode()]
    assert third.sweep(1e9) == []


def test_news_of_the_largest_call_fit_a_datagram():
    workers = crew(2)
    replayed = captured.replay(captured.rows_of("cli_codex"), workers=workers)
    _, calls = program_of(workers[0], replayed, 1)
    tool = ToolCall("call_" + "x" * 59, "n" * 64, 9, tuple(range(2**63, 2**63 + 16)))
    call = msgspec.structs.replace(calls[1], tools=(tool,) * 500, runs=calls[1].runs * 500, links=calls[1].links * 500)
    turn = replayed.turns[1]
    turn.node.tools = (tool,) * 500
    (data,) = messages.encode(Datagram(0, news=(messages.elsewhere.finished(turn.program, turn.node, call),)))
    assert len(data) <= MAX_DATAGRAM_BYTES
    messages.decode(data)


def chat(number: int, name: str, messages: list[dict] | None = None, **members):
    """A row as captures have it."""
    turns = messages or [{"role": "user", "content": f"Task {number}."}]
    return {
        "seq": number,
        "path": "/v1/chat/completions",
        "headers": {"x-turnwise-program": name},
        "t_arrive_s": float(number),
        "t_done_s": number + 0.5,
        "body": {"model": "m", "messages": turns, **members},
    }


def begin(worker: Programs, row: dict):
    request, fields = captured.read(captured.Reader(captured.Edits(include_usage=False)), row, is_stripped=False)
    turn = worker.begin(request, fields, row["t_arrive_s"])
    assert turn is not None
    return turn


def test_names_and_ids_of_any_length_fit_a_datagram():
    wide = "\U0001f600"
    results = [{"role": "tool", "tool_call_id": f"{number:02}" + wide * 254, "content": "x"} for number in range(64)]
    first, second = crew(2)
    turn = begin(first, chat(1, wide * 128, [{"role": "user", "content": "Go."}, *results], model="m" * 66_000))
    tool = ToolCall(wide * MAX_ID_CHARS, wide * MAX_ID_CHARS, 9, tuple(range(2**63, 2**63 + 16)))
    run = ToolRun(tool.id, tool.name, CallId("c" * 40), 1.0, 2.0)
    turn.runs = (run,) * 128
    outcome = captured.outcome_of(turn.request, 2.0)
    first.settle(turn, msgspec.structs.replace(outcome, tool_calls=(tool,) * 128, finish_reason="f" * 9999), 2.0)
    (summary,) = second.listing(3.0)
    assert (summary.running, summary.calls, len(summary.model)) == (0, 1, 256)


def test_a_siblings_call_whose_end_gets_lost_does_not_keep_a_program_for_ever():
    first, second = crew(2, ProgramSettings(max_age_s=100.0), lost=(Finished,))
    own = begin(second, chat(1, "p"))
    second.settle(own, captured.outcome_of(own.request, 2.0), 2.0)
    other = begin(first, chat(2, "p"))
    first.settle(other, captured.outcome_of(other.request, 3.0), 3.0)
    assert other.basis is Basis.NAMED
    assert second.listing(50.0)[0].running == 1
    assert second.sweep(99.0) == []
    (ended,) = second.sweep(200.0)
    assert ended.key.name == "p"
    assert second.listing(200.0)[0].running == 0


def test_of_more_calls_of_siblings_than_can_run_the_oldest_counts_as_gone():
    first, second = crew(2, lost=(Finished,))
    begin(first, chat(1, "p"))
    begin(first, chat(2, "q"))
    begun = second.elsewhere
    turn = begin(first, chat(3, "r"))
    news = messages.elsewhere.began(turn.program, turn.node, None, (), (), "")
    for number in range(MAX_RUNNING - 2):
        begun.heard(msgspec.structs.replace(news, call_id=CallId(f"c{number}")), 0, 0.0)
    assert {summary.name: summary.running for summary in second.listing(4.0)} == {"p": 0, "q": 1, "r": MAX_RUNNING - 1}


def late_teller():
    """A worker whose records wait until they are asked for; gives it, what it told, and those who are to be asked."""
    told, asked = [], []
    return Programs(ProgramSettings(), TraceSettings(), tell=told.append, soon=asked.append), told, asked


def settle(worker: Programs, turn, now: float):
    worker.ended(turn, captured.outcome_of(turn.request, now))


def test_siblings_are_told_of_the_ends_of_several_calls_at_once():
    worker, told, asked = late_teller()
    turns = [begin(worker, chat(number, f"p{number}")) for number in range(3)]
    for turn in turns:
        settle(worker, turn, 5.0)
    assert [type(news) for news in told] == [Began] * 3
    assert len(asked) == 1
    asked.pop()()
    assert [news.call.call_id for news in told[3:]] == [turn.call_id for turn in turns]
    assert len(worker.take_calls()) == 3
    settle(worker, begin(worker, chat(4, "q")), 6.0)
    assert len(asked) == 1


def test_siblings_are_told_of_the_end_of_a_call_before_what_follows_it():
    worker, told, _ = late_teller()
    first = begin(worker, chat(1, "p"))
    settle(worker, first, 2.0)
    answer = [{"role": "user", "content": "Task 1."}, {"role": "assistant", "content": "Done."}]
    second = begin(worker, chat(3, "p", [*answer, {"role": "user", "content": "More."}]))
    assert [link.call_id for link in second.links] == [first.call_id]
    settle(worker, second, 4.0)
    assert worker.end(second.key.id, 5.0)
    assert [type(news) for news in told] == [Began, Finished, Began, Finished, Over]


def test_records_that_siblings_heard_of_still_count_as_ended_until_they_are_taken():
    worker, _, asked = late_teller()
    turns = [begin(worker, chat(number, f"p{number}")) for number in range(2)]
    assert worker.ended(turns[0], captured.outcome_of(turns[0].request, 5.0)) == 1
    asked.pop()()
    assert worker.ended(turns[1], captured.outcome_of(turns[1].request, 5.0)) == 2
