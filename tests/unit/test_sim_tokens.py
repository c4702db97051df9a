import random

import pytest

from turnwise.engines.sim.bodies import CalledFunction, Message, ToolCall
from turnwise.engines.sim.script import Limits, ToolRequest, invent, write_text, write_tool_calls
from turnwise.engines.sim.template import GENERATION_HEADER, render_chat
from turnwise.engines.sim.tokens import VOCABULARY, encode, pieces

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and then does it again on 12345 other days.",
    'def f(x):\n    return {"a": [1, 2, 3],\t"b": x ** 2}\n\n\n# end',
    "naïve café — 東京 🙂 under_score  two  spaces \n",
    "<|im_start|>user\nhi<|im_end|>\n<tool_call>\n{}\n</tool_call>",
]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_join_to_the_text_they_were_cut_from(text):
    assert "".join(pieces(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_equal_text_has_equal_tokens_within_the_vocabulary(text):
    tokens = encode(text)
    assert tokens == encode(text)
    assert max(tokens) < VOCABULARY


def test_english_comes_to_about_four_bytes_a_token():
    text = TEXTS[0] * 20
    assert 3.5 < len(text.encode()) / len(encode(text)) < 5.0


def answer_to(prompt, **limits):
    return write_text(random.Random(prompt), Limits(**{"max_tokens": 500, **limits}))


def shown(script):
    return "".join(piece.text for piece in script.pieces)


def test_an_answer_sent_back_in_the_next_turn_extends_the_tokens_that_were_generated():
    first = [Message("system", "You are terse."), Message("user", "hello")]
    for seed in range(20):
        script = answer_to(seed)
        taught = encode(render_chat(first, ())).tolist() + [piece.token for piece in script.pieces]
        later = encode(render_chat([*first, Message("assistant", shown(script)), Message("user", "and?")], ())).tolist()
        assert later[: len(taught)] == taught


def test_tool_calls_sent_back_in_the_next_turn_extend_the_tokens_that_were_generated():
    tool = ToolRequest("search", {"type": "object", "properties": {"q": {"type": "string"}, "k": {"type": "integer"}}})
    first = [Message("user", "find it")]
    script = write_tool_calls(random.Random(3), [tool, tool], Limits(500))
    arguments = [
        "".join(piece.arguments for piece in script.pieces if piece.call == index and piece.arguments) for index in (0, 1)
    ]
    calls = tuple(ToolCall(CalledFunction("search", text), f"c{index}") for index, text in enumerate(arguments))
    later = [*first, Message("assistant", None, tool_calls=calls), Message("tool", "found", tool_call_id="c0")]
    taught = encode(render_chat(first, ())).tolist() + [piece.token for piece in script.pieces]
    assert encode(render_chat(later, ())).tolist()[: len(taught)] == taught
    assert script.finish_reason == "tool_calls"


def test_a_conversation_ends_in_the_header_of_the_answer():
    assert render_chat([Message("user", "x")], ()).endswith(GENERATION_HEADER)


def test_the_tool_catalogue_enters_the_prompt():
    tool = {"type": "function", "function": {"name": "grep", "x-unknown": 7}}
    assert '"x-unknown":7' in render_chat([Message("user", "x")], (tool,))


def test_an_answer_cut_by_max_tokens_says_length():
    script = answer_to(1, max_tokens=5)
    assert (len(script.pieces), script.finish_reason) == (5, "length")


def test_ignoring_the_end_fills_max_tokens():
    script = answer_to(1, max_tokens=2000, ignores_end=True)
    assert (len(script.pieces), script.finish_reason) == (2000, "length")


def test_an_answer_is_at_least_min_tokens_long():
    assert len(answer_to(1, max_tokens=1000, min_tokens=700).pieces) >= 700


def test_a_stop_text_ends_the_answer_and_is_not_shown():
    whole = shown(answer_to(5))
    stop = whole.split()[4]
    script = answer_to(5, stops=(stop,))
    assert script.finish_reason == "stop"
    assert shown(script) == whole[: whole.index(stop)]


def test_a_stop_text_before_min_tokens_is_passed_over():
    whole = shown(answer_to(5))
    stop = whole.split()[1]
    assert len(answer_to(5, stops=(stop,), min_tokens=20).pieces) >= 20


def test_invented_arguments_fit_their_schema():
    schema = {
        "type": "object",
        "properties": {
            "mode": {"enum": ["a", "b"]},
            "count": {"type": "integer", "minimum": 5, "maximum": 6},
            "ratio": {"type": "number"},
            "deep": {"type": "object", "properties": {"flag": {"type": "boolean"}}},
            "list": {"type": "array", "items": {"type": "integer"}},
            "maybe": {"type": ["string", "null"]},
            "fixed": {"const": 3},
        },
    }
    value = invent(random.Random(0), schema)
    assert value["mode"] in {"a", "b"}
    assert value["count"] in {5, 6}
    assert isinstance(value["ratio"], float)
    assert isinstance(value["deep"]["flag"], bool)
    assert isinstance(value["list"][0], int)
    assert isinstance(value["maybe"], str)
    assert value["fixed"] == 3
