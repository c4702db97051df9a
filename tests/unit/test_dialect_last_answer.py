"""The last assistant turn of a prompt: which segments it is, and that they are the right ones however the prompt is cut."""

import json

import pytest

from turnwise.dialects import DIALECTS
from turnwise.dialects.answer import MAX_SAID_BYTES
from turnwise.dialects.last_answer import MAX_TURNS_LOOKED_AT
from turnwise.dialects.prompt import WHOLE_UP_TO_BYTES
from turnwise.index import prompt_chain
from turnwise.types import DialectName, SegmentKind

CHAT, MESSAGES, RESPONSES = DialectName.CHAT, DialectName.MESSAGES, DialectName.RESPONSES
LARGE = "x" * (3 * WHOLE_UP_TO_BYTES)


def read(body, name=CHAT, **encoding):
    return DIALECTS[name].read(json.dumps({"model": "m", **body}, **encoding).encode(), (), splice_usage=False).prompt


def turn(role, content="said"):
    return {"role": role, "content": content}


def raw_answer(prompt) -> bytes:
    """The bytes of the segments that are named as the last answer."""
    return b"".join(bytes(raw) for raw in prompt.raws[prompt.answer.first : prompt.answer.last + 1])


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("u", None),
        ("ua", None),
        ("uau", (1, 1)),
        ("suatt", (2, 2)),
        ("uauatu", (3, 3)),
        ("uaatu", (1, 2)),
        ("uaua", (1, 1)),
        ("uauaa", (1, 1)),
        ("aau", (0, 1)),
        ("a", None),
    ],
)
def test_it_is_the_last_run_of_assistant_turns_that_another_turn_follows(roles, expected):
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    for encoding in ({}, {"indent": 1}):
        answer = read({"messages": [turn(names[role]) for role in roles]}, **encoding).answer
        assert (None if answer is None else (answer.first, answer.last)) == expected


def test_what_stands_before_the_turns_counts_as_segments():
    prompt = read(
        {"tools": [{"type": "function"}], "tool_choice": "none", "messages": [turn("user"), turn("assistant"), turn("user")]}
    )
    assert prompt.kinds[prompt.answer.first] is SegmentKind.ASSISTANT
    assert prompt.answer.first == prompt.answer.last == 3


@pytest.mark.parametrize("before", ["small", LARGE])
@pytest.mark.parametrize("said", ["small", LARGE])
@pytest.mark.parametrize("behind", ["small", LARGE])
def test_the_segments_are_the_right_ones_where_large_turns_are_cut_in_pieces(before, said, behind):
    answer = turn("assistant", said)
    prompt = read({"messages": [turn("user", before), answer, turn("tool", behind), turn("user")]})
    assert raw_answer(prompt) == json.dumps(answer).encode()
    assert prompt_chain(prompt).answer == prompt.answer


def test_items_that_one_response_made_are_one_turn_and_what_a_tool_gave_back_ends_it():
    call = {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "1"}
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
    prompt = read({"input": [turn("user"), call, output, thought, said, call, call, output, output]}, RESPONSES)
    assert (prompt.answer.first, prompt.answer.last) == (3, 6)
    one = read({"input": [turn("user"), call, output]}, RESPONSES)
    assert (one.answer.first, one.answer.said.text, one.answer.said.reasoning) == (1, 0, 0)


@pytest.mark.parametrize(
    "turns",
    [
        [turn("assistant", "x" * MAX_SAID_BYTES), turn("user")],
        [turn("assistant", [{"type": "image_url", "image_url": {"url": "data:"}}]), turn("user")],
        [turn("assistant", {"of": "another shape"}), turn("user")],
        [turn("assistant", None), turn("user")],
        [turn("assistant"), *[turn("tool")] * (MAX_TURNS_LOOKED_AT + 1)],
        [*[turn("assistant")] * (MAX_TURNS_LOOKED_AT + 2), turn("user")],
    ],
)
def test_a_turn_too_large_too_far_back_or_of_another_shape_is_none(turns):
    assert read({"messages": [turn("user"), *turns]}).answer is None


def test_a_marker_in_the_turn_changes_nothing():
    block = {"type": "text", "text": "said"}
    marked = [{**block, "cache_control": {"type": "ephemeral"}}]
    said = [
        read({"messages": [turn("user"), turn("assistant", content), turn("user")]}, MESSAGES).answer.said
        for content in ([block], marked, "said")
    ]
    assert said[0] == said[1] == said[2]
