"""Requests that real clients sent: read without loss, and a later turn's prompt begins with the earlier one's."""

import json
from pathlib import Path

import pytest

from turnwise.dialects import DIALECTS, match
from turnwise.index.chains import prompt_chain
from turnwise.types import DialectName, SegmentKind

FOLDER = Path(__file__).parents[1] / "data" / "captures"
FILES = ("cli_aider", "cli_opencode", "cli_qwen", "langgraph", "litellm", "oagents_chat", "oai_chat", "smolagents")


def load_calls(name: str) -> dict[int, dict]:
    rows = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]
    return {row["seq"]: row for row in rows if row["path"] == "/v1/chat/completions"}


CALLS = {name: load_calls(name) for name in FILES}
LABELS = json.loads((FOLDER / "LABELS.json").read_text())["files"]
CONTINUED = [
    (name, earlier, later)
    for name in FILES
    for earlier, later, kind in LABELS[name].get("edges", ())
    if kind == "continue" and earlier in CALLS[name] and later in CALLS[name]
]


def compact(value) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def read(row: dict, encode=compact):
    route = match(row["method"], row["path"])
    assert route.dialect is DialectName.CHAT
    return DIALECTS[route.dialect].read(encode(row["body"]), (), splice_usage=True)


@pytest.mark.parametrize(("name", "seq"), [(name, seq) for name in FILES for seq in CALLS[name]])
def test_a_captured_request_is_read_and_every_byte_of_its_prompt_is_in_a_segment(name, seq):
    body = CALLS[name][seq]["body"]
    call = read(CALLS[name][seq])
    assert (call.model, call.is_stream) == (body["model"], bool(body.get("stream")))
    segments = [segment for segment in call.prompt.segments if segment.kind is not SegmentKind.TEMPLATE]
    parts = ([body["tools"]] if body.get("tools") else []) + body["messages"]
    assert b"".join(segment.raw for segment in segments) == b"".join(map(compact, parts))
    sent = json.loads(call.body)
    wants = body.get("stream") and not body.get("stream_options", {}).get("include_usage")
    assert call.adds_usage == bool(wants)
    assert sent == ({**body, "stream_options": {**body.get("stream_options", {}), "include_usage": True}} if wants else body)


@pytest.mark.parametrize("encode", [compact, lambda value: json.dumps(value, indent=1).encode()], ids=["compact", "indented"])
@pytest.mark.parametrize(("name", "earlier", "later"), CONTINUED)
def test_the_digests_of_a_turn_begin_with_those_of_the_turn_before(name, earlier, later, encode):
    before = prompt_chain(read(CALLS[name][earlier], encode).prompt).digests
    after = prompt_chain(read(CALLS[name][later], encode).prompt).digests
    assert after[: len(before)] == before
    assert len(after) > len(before)


def test_there_are_continued_turns_to_compare():
    assert len(CONTINUED) >= 20


def test_an_agent_under_another_system_prompt_shares_no_message():
    calls = CALLS["smolagents"]
    one, other = (prompt_chain(read(calls[seq]).prompt).digests for seq in (3, 4))
    assert not set(one) & set(other)
