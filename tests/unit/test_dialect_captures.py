"""Requests that real clients sent: read without loss, and a later turn's prompt begins with the earlier one's."""

import json
from pathlib import Path

import pytest

from turnwise.dialects import DIALECTS, match
from turnwise.errors import ClientFault
from turnwise.index.chains import prompt_chain
from turnwise.types import DialectName, SegmentKind

FOLDER = Path(__file__).parents[1] / "data" / "captures"
FILES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))
PARTS = {
    DialectName.CHAT: ("tools", "messages"),
    DialectName.MESSAGES: ("tools", "system", "messages"),
    DialectName.RESPONSES: ("tools", "instructions", "input"),
}
SPREAD = ("messages", "input")


def dialect_of(row: dict) -> DialectName | None:
    return match(row["method"], row["path"]).dialect if row["method"] == "POST" else None


def load_calls(name: str) -> dict[int, dict]:
    rows = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]
    return {row["seq"]: row for row in rows if dialect_of(row) in PARTS}


def in_thread(row: dict) -> bool:
    return "thread" in row["body"]


CALLS = {name: load_calls(name) for name in FILES}
READABLE = [(name, seq) for name in FILES for seq, row in CALLS[name].items() if not in_thread(row)]
THREADED = [(name, seq) for name in FILES for seq, row in CALLS[name].items() if in_thread(row)]
LABELS = json.loads((FOLDER / "LABELS.json").read_text())["files"]
CONTINUED = [
    ((name, earlier), (name, later))
    for name in FILES
    for earlier, later, kind in LABELS[name].get("edges", ())
    if kind == "continue" and earlier in CALLS[name] and later in CALLS[name]
] + [(("cli_claude", 3), ("cli_claude_continue", 1))]


def compact(value) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def read(name: str, seq: int, encode=compact):
    row = CALLS[name][seq]
    return DIALECTS[dialect_of(row)].read(encode(row["body"]), (), splice_usage=True)


def without_markers(value):
    if isinstance(value, dict):
        return {key: without_markers(item) for key, item in value.items() if key != "cache_control"}
    return [without_markers(item) for item in value] if isinstance(value, list) else value


def prompt_parts(dialect: DialectName, body: dict) -> list:
    """What the prompt consists of, in its order; the turns of a conversation one by one."""
    parts = []
    for name in PARTS[dialect]:
        value = without_markers(body.get(name))
        parts += value if name in SPREAD and isinstance(value, list) else [value] if value else []
    return parts


@pytest.mark.parametrize(("name", "seq"), READABLE)
def test_a_captured_request_is_read_and_every_byte_of_its_prompt_is_in_a_segment(name, seq):
    body = CALLS[name][seq]["body"]
    call = read(name, seq)
    assert (call.model, call.is_stream, call.unhashed_bytes) == (body["model"], bool(body.get("stream")), 0)
    segments = [segment for segment in call.prompt.segments if segment.kind is not SegmentKind.TEMPLATE]
    parts = prompt_parts(dialect_of(CALLS[name][seq]), body)
    assert b"".join(segment.raw for segment in segments) == b"".join(map(compact, parts))


@pytest.mark.parametrize(("name", "seq"), READABLE)
def test_a_captured_request_is_forwarded_as_it_came_but_for_the_usage_that_a_chat_stream_is_asked_for(name, seq):
    body, call = CALLS[name][seq]["body"], read(name, seq)
    options = body.get("stream_options", {})
    is_asked = dialect_of(CALLS[name][seq]) is DialectName.CHAT and body.get("stream") and not options.get("include_usage")
    assert call.adds_usage == bool(is_asked)
    if is_asked:
        assert json.loads(call.body) == {**body, "stream_options": {**options, "include_usage": True}}
    else:
        assert call.body == compact(body)


@pytest.mark.parametrize("encode", [compact, lambda value: json.dumps(value, indent=1).encode()], ids=["compact", "indented"])
@pytest.mark.parametrize(("earlier", "later"), CONTINUED)
def test_the_digests_of_a_turn_begin_with_those_of_the_turn_before(earlier, later, encode):
    before = prompt_chain(read(*earlier, encode).prompt).digests
    after = prompt_chain(read(*later, encode).prompt).digests
    assert after[: len(before)] == before
    assert len(after) > len(before)


def test_there_are_continued_turns_of_every_dialect_to_compare():
    dialects = [dialect_of(CALLS[name][seq]) for _, (name, seq) in CONTINUED]
    assert min(dialects.count(dialect) for dialect in PARTS) >= 5


@pytest.mark.parametrize(("name", "seq"), THREADED)
def test_a_captured_message_thread_is_refused(name, seq):
    with pytest.raises(ClientFault) as caught:
        read(name, seq)
    assert (caught.value.status, caught.value.param) == (400, "thread")


def test_there_are_message_threads_that_begin_and_that_go_on():
    assert {CALLS[name][seq]["body"]["thread"]["type"] for name, seq in THREADED} == {"create", "continue"}


def test_an_agent_under_another_system_prompt_shares_no_message():
    one, other = (prompt_chain(read("smolagents", seq).prompt).digests for seq in (3, 4))
    assert not set(one) & set(other)


def test_state_that_a_captured_call_continues_is_named():
    named = {seq: read("oai_responses", seq).continues for seq in CALLS["oai_responses"]}
    assert named == {0: (), 1: ("resp_33326e5ce46e4255928fd1a3",), 2: ("conv_abc123",)}
    assert not read("cli_codex", 0).is_stored
    assert read("oai_responses", 0).is_stored


def made_by_the_model(turn: dict) -> bool:
    return turn.get("role") == "assistant" or turn.get("type", "").endswith("_call")


@pytest.mark.parametrize("encode", [compact, lambda value: json.dumps(value, indent=1).encode()], ids=["compact", "indented"])
@pytest.mark.parametrize(("name", "seq"), READABLE)
def test_a_captured_prompt_names_its_last_assistant_turn(name, seq, encode):
    row = CALLS[name][seq]
    turns = next(row["body"][member] for member in SPREAD if member in row["body"])
    made = [turn for turn in turns[:-1] if isinstance(turn, dict) and made_by_the_model(turn)]
    prompt = read(name, seq, encode).prompt
    if made:
        raws = prompt.raws[prompt.answer.first : prompt.answer.last + 1]
        assert json.loads(b"".join(map(bytes, raws))) == without_markers(made[-1])
    else:
        assert prompt.answer is None


def test_clients_that_were_told_the_same_say_the_same_in_all_dialects():
    said = [call.prompt.answer.said for call in (read(*place) for place in READABLE) if call.prompt.answer is not None]
    weather = {"langgraph", "litellm", "oai_chat", "oagents_chat", "oagents_responses", "anth"}
    calls = {read(name, seq).prompt.answer for name, seq in READABLE if name in weather} - {None}
    assert len({answer.said.calls for answer in calls}) <= 2  # the one call that all of them made, and none
    assert len(said) >= 40
