"""Answers in one piece: one that is decoded once tells the same as one that is read part by part."""

import json

import pytest

from turnwise.dialects.openai_tap import GenerationTap
from turnwise.types import Usage

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}


class PartByPart(GenerationTap):
    def _read_plain(self, document, now):
        return False


def told(tap, document):
    tap.on_head(200, is_stream=False)
    tap.feed(document, 1.0)
    tap.close(2.0)
    facts = (tap.usage, tap.finish_reason, tap.response_id, tap.answer, tap.tool_calls)
    return facts, (tap.first_token_at, tap.first_visible_at, tap.first_tool_at)


def answer(message, *, finish_reason="stop", **fields):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return json.dumps({"id": "c", "choices": [choice], "usage": USAGE, **fields}).encode()


@pytest.mark.parametrize("wants_answer", [True, False])
@pytest.mark.parametrize(
    "document",
    [
        answer({"content": "Hi"}),
        answer({"content": " \n"}),
        answer({"content": ""}, finish_reason=None),
        answer({"content": None}, finish_reason=""),
        answer({"content": "Hi", "reasoning": "why"}),
        answer({"content": None, "reasoning": "", "reasoning_content": "why"}),
        answer({"content": "Hi", "tool_calls": [], "refusal": None, "function_call": None, "audio": None}),
        answer({"content": None, "tool_calls": [CALL]}, finish_reason="tool_calls"),
        answer({"content": "Hi", "tool_calls": [CALL]}),
        answer({"content": None, "refusal": "no"}),
        answer({"content": None, "function_call": {"name": "f", "arguments": "{}"}}),
        answer({"content": [{"type": "text", "text": "Hi"}]}),
        answer({"content": 5}),
        answer({"content": "Hi"}, usage=None),
        answer({"content": "Hi"}, usage={"prompt_tokens": "many"}),
        answer({"content": "Hi"}, id=5),
        answer({"content": "Hi"}, choices=[]),
        answer({"content": "Hi"}, choices=None),
        answer({}, choices=[{"message": {"content": "one"}}, {"message": {"content": "two"}}]),
        answer({}, choices=[{"text": "Hi", "finish_reason": "length"}]),
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        b"garbage",
    ],
)
def test_it_tells_what_is_read_part_by_part(document, wants_answer):
    plain, parts = (told(kind(wants_answer=wants_answer), document) for kind in (GenerationTap, PartByPart))
    assert plain == parts


def test_a_plain_answer_gives_all_its_facts():
    facts, times = told(GenerationTap(wants_answer=True), answer({"content": "Hi"}))
    assert facts[:3] == (Usage(prompt_tokens=9, completion_tokens=3, cached_tokens=4), "stop", "c")
    assert facts[3] is not None
    assert times == (2.0, 2.0, None)
