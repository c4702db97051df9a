"""What an answer says is the same from a stream, a whole answer, and the turn in which a client writes it back."""

import json

import pytest

from turnwise.dialects import DIALECTS
from turnwise.dialects.answer import MAX_SAID_BYTES, answer
from turnwise.types import Answer, DialectName

CHAT, COMPLETIONS, MESSAGES, RESPONSES = (
    DialectName.CHAT, DialectName.COMPLETIONS, DialectName.MESSAGES, DialectName.RESPONSES
)  # fmt: skip
ARGUMENTS = '{"city": "Higos", "days": [1, 2.0], "why": "caf\\u00e9"}'
COMPACT = '{"city":"Higos","days":[1,2],"why":"café"}'
PARSED = json.loads(ARGUMENTS)
USER = {"role": "user", "content": "hi"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 3}


def sse(payload, event="") -> bytes:
    return (f"event: {event}\n" if event else "").encode() + b"data: " + json.dumps(payload).encode() + b"\n\n"


def stream(name: DialectName, *reads: bytes) -> Answer | None:
    tap = DIALECTS[name].tap(wants_answer=True)
    tap.on_head(200, is_stream=True)
    for now, data in enumerate(reads):
        tap.feed(data, float(now))
    assert tap.answer is None
    tap.close(99.0)
    return tap.answer


def whole(name: DialectName, document) -> Answer | None:
    tap = DIALECTS[name].tap(wants_answer=True)
    tap.on_head(200, is_stream=False)
    tap.feed(json.dumps(document).encode(), 1.0)
    tap.close(1.0)
    return tap.answer


def last(name: DialectName, *turns, **encoding):
    """The last answer of a prompt that holds these turns, or None."""
    member = "input" if name is RESPONSES else "messages"
    body = json.dumps({"model": "m", member: [USER, *turns]}, **encoding).encode()
    return DIALECTS[name].read(body, (), splice_usage=False).prompt.answer


def chunk(delta=None, finish=None, **choice):
    return sse({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish, **choice}]})


def chat_call(arguments, index=0, **begins):
    return chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments, **begins}}]})


CHAT_STREAM = (
    chunk({"role": "assistant", "content": ""}),
    *[chunk({"reasoning": word}) for word in ("Let", " me", " see")],
    *[chunk({"content": word}) for word in ("\n\nI", ' "loo\\k"', " it\n", " up")],
    chat_call("", name="weather", id="call_1"),
    *[chat_call(ARGUMENTS[at : at + 3]) for at in range(0, len(ARGUMENTS), 3)],
    chat_call("", 1, name="now"),
    chunk({}, "tool_calls"),
    sse({"choices": [], "usage": USAGE}),
    b"data: [DONE]\n\n",
)
TEXT = 'I "loo\\k" it\n up'
REASONING = "Let me see"


def chat_turn(**fields):
    calls = [("weather", COMPACT), ("now", "{}")]
    tools = [{"type": "function", "id": f"x{at}", "function": {"name": n, "arguments": a}} for at, (n, a) in enumerate(calls)]
    return {"role": "assistant", "content": TEXT, "reasoning_content": REASONING, "tool_calls": tools, **fields}


def block_start(index, block):
    return sse({"type": "content_block_start", "index": index, "content_block": block}, "content_block_start")


def block_delta(index, kind, member, said):
    delta = {"type": "content_block_delta", "index": index, "delta": {"type": kind, member: said}}
    return sse(delta, "content_block_delta")


MESSAGES_STREAM = (
    sse({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 0}}}, "message_start"),
    block_start(0, {"type": "thinking", "thinking": ""}),
    *[block_delta(0, "thinking_delta", "thinking", word) for word in ("Let", " me", " see")],
    block_delta(0, "signature_delta", "signature", "abc"),
    sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
    block_start(1, {"type": "text", "text": ""}),
    *[block_delta(1, "text_delta", "text", word) for word in ("I", ' "loo\\k"', " it\n", " up")],
    block_start(2, {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}),
    *[block_delta(2, "input_json_delta", "partial_json", ARGUMENTS[at : at + 3]) for at in range(0, len(ARGUMENTS), 3)],
    block_start(3, {"type": "tool_use", "id": "t2", "name": "now", "input": {}}),
    sse({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}, "message_delta"),
    sse({"type": "message_stop"}, "message_stop"),
)
MESSAGES_CONTENT = [
    {"type": "thinking", "thinking": REASONING, "signature": "abc"},
    {"type": "text", "text": TEXT},
    {"type": "tool_use", "id": "t1", "name": "weather", "input": PARSED},
    {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
]
ITEMS = [
    {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": REASONING}]},
    {"type": "message", "role": "assistant", "id": "m", "content": [{"type": "output_text", "text": TEXT, "annotations": []}]},
    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": ARGUMENTS, "status": "completed"},
    {"type": "function_call", "call_id": "c2", "name": "now", "arguments": "{}"},
]
RESPONSE = {"id": "resp_1", "status": "completed", "output": ITEMS, "usage": {"input_tokens": 9, "output_tokens": 5}}
RESPONSES_STREAM = (
    sse({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}),
    *[sse({"type": "response.output_text.delta", "delta": word}) for word in ("I", " look", " it up")],
    sse({"type": "response.completed", "response": RESPONSE}),
)
TOOL = {"role": "tool", "tool_call_id": "x0", "content": "18C"}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "18C"}]}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "18C"}
SAID = stream(CHAT, *CHAT_STREAM)


def test_all_dialects_say_the_same_in_streams_whole_answers_and_later_turns():
    assert SAID is not None
    assert 0 not in (SAID.text, SAID.calls, SAID.reasoning)
    content = {"role": "assistant", "content": MESSAGES_CONTENT}
    assert stream(MESSAGES, *MESSAGES_STREAM) == SAID
    assert stream(RESPONSES, *RESPONSES_STREAM) == SAID
    assert whole(CHAT, {"choices": [{"message": chat_turn(), "finish_reason": "tool_calls"}]}) == SAID
    assert whole(MESSAGES, {"type": "message", "content": MESSAGES_CONTENT, "stop_reason": "tool_use"}) == SAID
    assert whole(RESPONSES, RESPONSE) == SAID
    assert last(CHAT, chat_turn(), TOOL).said == SAID
    assert last(MESSAGES, content, RESULT).said == SAID
    assert last(RESPONSES, *ITEMS, OUTPUT).said == SAID


@pytest.mark.parametrize("encoding", [{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])
@pytest.mark.parametrize(
    "turn",
    [
        chat_turn(),
        dict(reversed(chat_turn().items())),
        chat_turn(content=[{"type": "text", "text": TEXT}]),
        chat_turn(content=[{"type": "text", "text": TEXT[:5]}, {"text": TEXT[5:], "type": "text"}]),
        chat_turn(content=f" {TEXT}\n", refusal=None, function_call=None, provider_specific_fields={"refusal": None}),
        chat_turn(reasoning=REASONING, reasoning_content="of another engine"),
    ],
)
def test_however_a_client_writes_a_turn_down_it_says_the_same(turn, encoding):
    assert last(CHAT, turn, TOOL, **encoding).said == SAID


def test_members_that_are_null_say_nothing():
    nulls = dict.fromkeys(("text", "thinking", "name", "input", "summary", "content", "arguments", "reasoning"))
    content = [{**nulls, **block} for block in MESSAGES_CONTENT]
    assert last(MESSAGES, {"role": "assistant", "content": content}, RESULT).said == SAID
    assert last(RESPONSES, *[{**nulls, **item} for item in ITEMS], OUTPUT).said == SAID
    assert last(CHAT, {**nulls, **chat_turn()}, TOOL).said == SAID


def test_what_is_left_out_is_told_apart_from_what_is_kept():
    said = last(CHAT, chat_turn(reasoning_content=None), TOOL).said
    assert said == Answer(SAID.text, SAID.calls, 0)
    assert last(CHAT, chat_turn(tool_calls=None, content=None), TOOL).said == Answer(0, 0, SAID.reasoning)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":2}', '{"b":2,"a":1}'),
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":1}', '{"a":1.5}'),
        ('{"a":1e400}', '{"a":2e400}'),
        ('{"a":12345678901234567890}', '{"a":12345678901234567891}'),
        ("{not json", "{not  json"),
    ],
)
def test_other_arguments_are_another_answer(one, other):
    said = [
        last(CHAT, chat_turn(tool_calls=[{"function": {"name": "f", "arguments": text}}]), TOOL).said for text in (one, other)
    ]
    assert said[0] != said[1]


@pytest.mark.parametrize("arguments", ["", "{}", " { } ", None])
def test_no_arguments_are_an_empty_object(arguments):
    calls = [{"function": {"name": "f", "arguments": arguments}}]
    expected = last(MESSAGES, {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {}}]}, RESULT)
    assert last(CHAT, chat_turn(content="", reasoning_content="", tool_calls=calls), TOOL).said == expected.said


def test_names_and_arguments_cannot_stand_in_for_each_other():
    said = [
        last(CHAT, chat_turn(tool_calls=[{"function": {"name": name, "arguments": text}} for name, text in calls]), TOOL).said
        for calls in ([("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")], [("a", "12"), ("b", "")], [("ab", "12")])
    ]
    assert len({answer.calls for answer in said}) == len(said)


def test_completions_say_their_text():
    reads = [
        sse({"choices": [{"index": 0, "text": text, "finish_reason": None}]}) for text in ("I", ' "loo\\k"', " it\n", " up")
    ]
    end = sse({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
    assert stream(COMPLETIONS, *reads, end) == Answer(SAID.text)
    assert whole(COMPLETIONS, {"choices": [{"text": TEXT, "finish_reason": "stop"}]}) == Answer(SAID.text)


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        (CHAT, CHAT_STREAM[:-3]),
        (CHAT, (*CHAT_STREAM[:-1], sse({"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]}))),
        (CHAT, (chunk({"refusal": "no"}), *CHAT_STREAM)),
        (CHAT, (chunk({"content": [{"type": "text", "text": "a"}]}), *CHAT_STREAM)),
        (CHAT, (chunk({"content": "a"}), b"data: {broken\n\n", *CHAT_STREAM)),
        (CHAT, (chunk({"tool_calls": [{"function": {"name": "no index"}}]}), *CHAT_STREAM)),
        (CHAT, (chunk({"content": "x" * (MAX_SAID_BYTES + 1)}), *CHAT_STREAM)),
        (CHAT, (*CHAT_STREAM[:6], *[chunk({"content": "x" * 8192})] * (MAX_SAID_BYTES // 8192 + 1), *CHAT_STREAM[-3:])),
        (CHAT, (chunk({"content": "\udc00"}), *CHAT_STREAM)),
        (CHAT, (*CHAT_STREAM[:6], *[chunk({"content": half}) for half in ("a", "b", "\ud83d", "\ude00")], *CHAT_STREAM[-3:])),
        (CHAT, (chunk({}, "stop"),)),
        (MESSAGES, (*MESSAGES_STREAM[:-2], sse({"type": "error", "error": {}}), *MESSAGES_STREAM[-2:])),
        (MESSAGES, (block_start(0, {"type": "server_tool_use", "name": "f"}), *MESSAGES_STREAM)),
        (MESSAGES, (block_delta(0, "of_tomorrow", "text", "a"), *MESSAGES_STREAM)),
        (MESSAGES, (block_delta(-1, "input_json_delta", "partial_json", "{}"), *MESSAGES_STREAM)),
        (RESPONSES, RESPONSES_STREAM[:-1]),
        (RESPONSES, (*RESPONSES_STREAM[:-1], sse({"type": "response.completed", "response": {**RESPONSE, "output": []}}))),
    ],
)
def test_of_what_was_not_seen_whole_nothing_is_said(name, reads):
    assert stream(name, *reads) is None


FINISH = chunk({}, "stop")
WORDS = [*"abcdefgh"] * 4


@pytest.mark.parametrize("place", range(1, len(WORDS)))
def test_an_event_of_the_same_length_that_says_more_is_not_taken_for_its_neighbours(place):
    events = [chunk({"content": word, "of_others": "x"}) for word in WORDS]
    events[place] = chunk({"content": WORDS[place], "reasoning": "x"})
    for reads in (events, [b"".join(events)], [events[0], b"".join(events[1:])]):
        assert stream(CHAT, *reads, FINISH) == answer("".join(WORDS), (), "x")


def test_what_changes_is_looked_for_where_the_text_is():
    events = [sse({"id": name, "choices": [{"index": 0, "delta": {"content": "a"}}]}) for name in ("a", *WORDS)]
    assert stream(CHAT, *events, FINISH) == answer("a" * len(events), (), "")


def test_every_line_of_an_event_says_something():
    events = [chunk({"content": "x"})[:-1] + chunk({"content": word}) for word in WORDS]
    assert stream(CHAT, *events, FINISH) == answer("".join(f"x{word}" for word in WORDS), (), "")


def test_nobody_says_what_nobody_wants():
    tap = DIALECTS[CHAT].tap()
    tap.on_head(200, is_stream=True)
    for data in CHAT_STREAM:
        tap.feed(data, 1.0)
    tap.close(1.0)
    assert (tap.answer, tap.finish_reason) == (None, "tool_calls")


@pytest.mark.parametrize("status", [400, 503])
def test_an_error_says_nothing(status):
    tap = DIALECTS[CHAT].tap(wants_answer=True)
    tap.on_head(status, is_stream=False)
    tap.feed(json.dumps({"choices": [{"message": chat_turn()}]}).encode(), 1.0)
    tap.close(1.0)
    assert tap.answer is None


@pytest.mark.parametrize(
    "document",
    [
        {"choices": [{"message": chat_turn()}, {"message": chat_turn()}]},
        {"choices": [{"message": chat_turn(content="x" * MAX_SAID_BYTES)}]},
        {"choices": [{"message": chat_turn(content=5)}]},
        {"choices": [{"message": {"role": "assistant", "content": None}}]},
        {"choices": [{"text": 5}]},
        {"choices": []},
    ],
)
def test_a_whole_answer_of_several_choices_or_of_another_shape_says_nothing(document):
    assert whole(CHAT, document) is None
