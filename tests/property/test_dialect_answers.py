"""What a stream says is what its events say one by one, however they are spelled, repeated and cut into reads."""

import json
from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.dialects import DIALECTS, quotes
from turnwise.dialects.answer import answer
from turnwise.types import DialectName

CHAT, COMPLETIONS, MESSAGES = DialectName.CHAT, DialectName.COMPLETIONS, DialectName.MESSAGES
FRAME = '"},"logprobs":null}]}\n\ndata: {"id":"c","choices":[{"index":0,"delta":{"content":"'
PLAIN = ("a", "b ", "", "\n", "\n\n", "é", "\u2028", "😀", "\x1b", "turnwise", "data: {}", "[DONE]", "content")
WORDS = st.sampled_from([*PLAIN, "\\", "\\\\", '"', '\\"', "\\ud83d", '"usage":{', FRAME])
RUNS = st.lists(
    st.tuples(st.sampled_from(["text", "text", "reasoning", "call", "name"]), st.lists(WORDS, max_size=24)), max_size=5
)
"""Runs of words of one kind, as streams have them; "name" begins another call."""

EXTRAS = st.sampled_from([{}, {"logprobs": None}, {"content": "of another depth"}, {"padding": True}])
ENCODINGS = st.sampled_from([(",", ":"), (", ", ": ")])
NOISE = st.sampled_from([b"", b": ping", b"event: x", b'data: {"choices":[]}', b"data: "])


def chat_event(kind, word, number, at):
    if kind in ("call", "name"):
        begins = {"name": f"tool{number}"} if kind == "name" else {}
        is_named = kind == "name" or number % 2  # some engines repeat the id with every piece
        names = {"id": f"call_{number}"} if is_named else {}
        delta = {"tool_calls": [{"index": number, **names, "function": {**begins, "arguments": word}}]}
    else:
        delta = {("content" if kind == "text" else "reasoning"): word}
    return "", {"id": "c", "choices": [{"index": 0, "delta": delta, **at}]}


def completions_event(kind, word, number, at):
    del kind, number
    return "", {"id": "c", "choices": [{"index": 0, "text": word, **at}]}


def messages_event(kind, word, number, at):
    if kind == "name":
        block = {"type": "tool_use", "id": f"call_{number}", "name": f"tool{number}", "input": {}}
        return "content_block_start", {"type": "content_block_start", "index": number, "content_block": block}
    delta = {
        "text": {"type": "text_delta", "text": word},
        "reasoning": {"type": "thinking_delta", "thinking": word},
        "call": {"type": "input_json_delta", "partial_json": word},
    }[kind]
    return "content_block_delta", {"index": number, "type": "content_block_delta", "delta": delta, **at}


MAKERS = {CHAT: chat_event, COMPLETIONS: completions_event, MESSAGES: messages_event}
ENDS = {
    CHAT: [("", {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})],
    COMPLETIONS: [("", {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})],
    MESSAGES: [
        ("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}})
    ],
}


@st.composite
def streams(draw, name: DialectName):
    """The events of a stream, each with its end, what it says, the calls it makes, and which event has the first arguments."""
    extra, separators, is_ascii, end = (
        draw(EXTRAS),
        draw(ENCODINGS),
        draw(st.booleans()),
        draw(st.sampled_from([b"\n", b"\r\n"])),
    )
    texts, reasoning, calls = [], [], []
    made = []
    first_tool = None
    for drawn, words in draw(RUNS):
        kind = "text" if name is COMPLETIONS else "call" if drawn == "name" else drawn
        if kind == "call" and (drawn == "name" or not calls):
            calls.append([f"tool{len(calls)}", ""])
            made.append(MAKERS[name]("name", "", len(calls) - 1, extra))
        for word in words:
            at = {"padding": "x" * len(made)} if "padding" in extra else extra
            made.append(MAKERS[name](kind, word, max(0, len(calls) - 1), at))
            if kind == "call":
                calls[-1][1] += word
                if first_tool is None and (word or name is MESSAGES):
                    first_tool = len(made) - 1
            else:
                (texts if kind == "text" else reasoning).append(word)
    events = []
    for event, payload in (*made, *ENDS[name]):
        noise = draw(NOISE) if draw(st.integers(0, 9)) == 0 else b""
        line = json.dumps(payload, separators=separators, ensure_ascii=is_ascii).encode()
        head = b"event: " + event.encode() + end if event else b""
        events.append((noise + end * 2 if noise else b"") + head + b"data: " + line + end * 2)
    made_calls = [(f"call_{at}", tool, quotes.of_arguments(given)) for at, (tool, given) in enumerate(calls)]
    return events, answer("".join(texts), [tuple(call) for call in calls], "".join(reasoning)), made_calls, first_tool


def said(name: DialectName, reads: list[bytes]):
    tap = DIALECTS[name].tap(wants_answer=True)
    tap.on_head(200, is_stream=True)
    for data in reads:
        tap.feed(data, 1.0)
    tap.close(1.0)
    return tap.answer, [(call.id, call.name, call.quotes) for call in tap.tool_calls]


def facts(name: DialectName, reads: list[bytes], *, wants_answer: bool):
    """What is known besides, noting the time of each read."""
    tap = DIALECTS[name].tap(wants_answer=wants_answer)
    tap.on_head(200, is_stream=True)
    for now, data in enumerate(reads):
        tap.feed(data, float(now))
    tap.close(float(len(reads)))
    return tap.usage, tap.first_token_at, tap.first_visible_at, tap.finish_reason, tap.response_id, tap.first_tool_at


@pytest.mark.parametrize("name", list(MAKERS))
@given(st.data(), st.lists(st.integers(0, 20_000), max_size=20))
def test_a_stream_says_what_its_events_say_however_it_is_cut(name, data, places):
    events, expected, calls, _ = data.draw(streams(name))
    stream = b"".join(events)
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    assert said(name, events) == (expected, calls)
    assert said(name, [stream]) == (expected, calls)
    assert said(name, [stream[start:stop] for start, stop in pairwise(bounds)]) == (expected, calls)


@pytest.mark.parametrize("name", list(MAKERS))
@given(st.data())
def test_who_wants_the_answer_learns_the_same_facts_at_the_same_times(name, data):
    events, _, _, first_tool = data.draw(streams(name))
    places = sorted({0, len(events), *data.draw(st.sets(st.integers(0, len(events))))})
    reads = [b"".join(events[start:stop]) for start, stop in pairwise(places)]
    found = facts(name, reads, wants_answer=True)
    assert found == facts(name, reads, wants_answer=False)
    assert found[-1] == (None if first_tool is None else bisect_right(places, first_tool) - 1)


@pytest.mark.parametrize("name", list(MAKERS))
@given(st.data(), st.lists(st.binary(max_size=60), max_size=4))
def test_garbage_in_a_stream_never_raises(name, data, garbage):
    events, *_ = data.draw(streams(name))
    for at, piece in enumerate(garbage):
        place = len(events) * at // len(garbage)
        events.insert(place, events[place][:-3] + piece + b"\n\n")
    said(name, events)
