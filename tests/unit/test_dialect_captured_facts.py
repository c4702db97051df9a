"""What requests of real clients carry besides text: results of tools, hints, and quotes of the calls that began them."""

import json
from pathlib import Path

import pytest

from turnwise.dialects import DIALECTS, match, quotes
from turnwise.turns import NO_HINTS
from turnwise.types import DialectName

FOLDER = Path(__file__).parents[1] / "data" / "captures"
FILES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))
LABELS = json.loads((FOLDER / "LABELS.json").read_text())["files"]


def load(name: str) -> dict[int, tuple]:
    """The calls of a capture that are read: dialect, body and what is read of it."""
    calls = {}
    for line in (FOLDER / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        body = row["body"]
        if row["method"] != "POST" or "thread" in body or row["path"].endswith("count_tokens"):
            continue
        dialect = DIALECTS[match("POST", row["path"]).dialect]
        document = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        calls[row["seq"]] = (dialect, body, dialect.read(document, (), splice_usage=True))
    return calls


CALLS = {name: load(name) for name in FILES}
EACH = [(name, seq) for name in FILES for seq in CALLS[name]]


def turns_of(body: dict) -> list:
    turns = body["messages"] if "messages" in body else body["input"]
    return turns if isinstance(turns, list) else []


def blocks_of(turn: dict) -> list[dict]:
    content = turn.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def results_in(body: dict) -> list[str]:
    """Ids of tool results, as the plain JSON has them."""
    found = []
    for turn in turns_of(body):
        if turn.get("role") == "tool":
            found.append(turn["tool_call_id"])
        elif turn.get("type") == "function_call_output":
            found.append(turn["call_id"])
        found += [block["tool_use_id"] for block in blocks_of(turn) if block["type"] == "tool_result"]
    return found


def calls_in(body: dict) -> dict[str, str]:
    """Arguments of the tool calls that a body repeats, by id."""
    found = {}
    for turn in turns_of(body):
        for call in turn.get("tool_calls") or ():
            found[call["id"]] = call["function"]["arguments"]
        if turn.get("type") == "function_call":
            found[turn["call_id"]] = turn["arguments"]
        found |= {block["id"]: json.dumps(block["input"]) for block in blocks_of(turn) if block["type"] == "tool_use"}
    return found


@pytest.mark.parametrize(("name", "seq"), EACH)
def test_the_results_of_a_captured_prompt_are_those_that_it_brings(name, seq):
    dialect, body, call = CALLS[name][seq]
    assert list(dialect.tail(call.prompt, 0).results) == results_in(body)


@pytest.mark.parametrize("name", FILES)
def test_a_captured_turn_that_continues_brings_results_or_a_users_words(name):
    for earlier, later, kind in LABELS[name].get("edges", ()):
        if kind != "continue" or earlier not in CALLS[name] or later not in CALLS[name]:
            continue
        dialect, body, call = CALLS[name][later]
        before = CALLS[name][earlier]
        tail = dialect.tail(call.prompt, len(before[2].prompt.kinds))
        assert list(tail.results) == results_in(body)[len(results_in(before[1])) :]
        assert tail.is_user_last != bool(tail.results)


def test_the_second_goal_of_a_session_is_a_users_words():
    dialect, _, call = CALLS["cli_claude_continue"][1]
    tail = dialect.tail(call.prompt, len(CALLS["cli_claude"][3][2].prompt.kinds))
    assert (tail.results, tail.is_user_last) == ((), True)


def test_conversations_that_a_tool_call_began_are_found_by_what_they_quote_and_no_others():
    found = set()
    for caller, (_, body, _) in ((name, call) for name in FILES for call in CALLS[name].values()):
        for call_id, arguments in calls_in(body).items():
            said = set(quotes.of_arguments(arguments))
            found |= {(caller, call_id, name, seq) for name, seq in EACH if said & set(first_words(name, seq))}
    agents = [call_id for call_id in calls_in(CALLS["cli_claude_subagents"][11][1]) if call_id.startswith("toolu_")]
    expected = {
        ("cli_claude_subagents", call_id, "cli_claude_subagents", seq)
        for number, call_id in enumerate(agents)
        for seq in (2 + number, 5 + number, 8 + number)
    }
    assert len(agents) == 3
    assert found == expected


def first_words(name, seq):
    dialect, _, call = CALLS[name][seq]
    return dialect.quotes(call.prompt)


@pytest.mark.parametrize(("name", "seq"), EACH)
def test_the_hints_of_a_captured_call_are_those_of_its_client(name, seq):
    dialect, body, call = CALLS[name][seq]
    said = call.hints
    assert said.cache_key == body.get("prompt_cache_key")
    assert said.user_id == (body.get("metadata") or {}).get("user_id")
    assert said.has_stop == bool(body.get("stop"))
    has_marks = json.dumps(body).count('"cache_control"') > 0
    assert bool(said.breakpoints) == has_marks
    if not has_marks and not {"prompt_cache_key", "metadata", "stop"} & set(body):
        assert said is NO_HINTS
    if name.startswith("cli_claude"):
        assert json.loads(said.user_id)["session_id"]
        assert dialect.name is DialectName.MESSAGES
        assert said.breakpoints[-1].segment == len(call.prompt.kinds) - 1
        assert {mark.ttl_s for mark in said.breakpoints} == {300.0}


def test_clients_that_send_hints_and_clients_that_send_none_are_among_them():
    keyed = {name for name, seq in EACH if CALLS[name][seq][2].hints.cache_key}
    stopping = {name for name, seq in EACH if CALLS[name][seq][2].hints.has_stop}
    assert keyed == {"cli_codex", "oai_chat", "oai_responses"}
    assert stopping == {"smolagents"}
    assert {name for name, seq in EACH if CALLS[name][seq][2].hints is NO_HINTS} >= {"cli_opencode", "cli_qwen", "langgraph"}
    assert {mark.ttl_s for mark in CALLS["anth"][0][2].hints.breakpoints} == {300.0, 3600.0}
