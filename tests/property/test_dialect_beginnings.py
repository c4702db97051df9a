"""A body read from where an earlier one ended is read as it would be in full."""

import json

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from turnwise.dialects.chat import ChatDialect
from turnwise.dialects.messages import MessagesDialect
from turnwise.dialects.responses import ResponsesDialect
from turnwise.errors import ClientFault
from turnwise.index import prompt_chain
from turnwise.types import PromptChain

DIALECTS = {ChatDialect: "messages", MessagesDialect: "messages", ResponsesDialect: "input"}
MARK = {"type": "ephemeral"}
BULK = "é lorem_ipsum dolor " * 60

MESSAGES = [
    {"role": "user", "content": "go on"},
    {"role": "user", "content": BULK * 3},
    {"role": "user", "content": BULK * 9},
    {"role": "assistant", "content": "I say so.", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
    {"role": "assistant", "content": "é", "reasoning": "because"},
    {"role": "assistant", "content": [{"type": "text", "text": "parts"}]},
    {"role": "tool", "content": BULK, "tool_call_id": "1"},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": BULK}]},
    {"content": BULK * 2, "role": "tool", "cache_control": None},
    {"role": "wizard", "content": '}],"messages":[{"role":"user"}]'},
]
ITEMS = [
    *MESSAGES,
    {"type": "reasoning", "summary": [], "content": [{"type": "text", "text": "hm"}]},
    {"type": "function_call", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "1", "output": BULK},
]
FRAMES = st.sampled_from(
    [
        {},
        {"stream": True, "prompt_cache_key": "k", "nvext": {"agent_hints": {"osl": 5}}},
        {"stream": True, "stream_options": {"include_usage": False}},
        {"stream": True, "stream_options": None, "vllm_xargs": {"kv_cache_report_mode": "full"}},
        {"tools": [{"name": "f", "parameters": {"messages": [1]}, "cache_control": MARK}]},
        {"tool_choice": "none", "cache_salt": "s", "system": [{"type": "text", "text": "s", "cache_control": MARK}]},
        {"instructions": "x" * 20_000, "tools": [{"name": "g" * 20_000}]},
    ]
)
DAMAGES = st.sampled_from(
    [
        lambda body: body[:-1],
        lambda body: body[:-3] + b"]}",
        lambda body: body + b"x",
        lambda body: body[:-1] + b',"model":"other"}',
        lambda body: body[:-1] + b',"messages":[],"input":[]}',
        lambda body: body.replace(b"}]", b"},]"),
        lambda body: body.replace(b"}]", b"},{}]"),
        lambda body: body.replace(b"}]", b'},{"role":"assistant"},5]'),
        lambda body: body[:-2] + b"\xff" + body[-1:],
        lambda body: body[: len(body) // 2] + b"\xff" + body[len(body) // 2 :],
        lambda body: body.replace(b'"content":', b'"content" :'),
        lambda body: body.replace(b'},{"', b'},\n{"').replace(b'}, {"', b'} , {"'),
    ]
)


@st.composite
def histories(draw):
    """A dialect and the bodies of a conversation as a client sends them, one behind the other."""
    dialect = draw(st.sampled_from(list(DIALECTS)))
    name = DIALECTS[dialect]
    further = st.sampled_from(ITEMS if name == "input" else MESSAGES)
    turns = [{"role": "user", "content": BULK * draw(st.integers(6, 40))}, *draw(st.lists(further, max_size=12))]
    frame, is_first = draw(FRAMES), draw(st.booleans())
    num_marks, is_kept = draw(st.integers(0, 3)), draw(st.booleans())
    separators, is_ascii = draw(st.sampled_from([(",", ":"), (", ", ": ")])), draw(st.booleans())
    bodies = []
    for _ in range(draw(st.integers(2, 6))):
        marked = [*range(len(turns))[len(turns) - num_marks :], *([0] if is_kept else [])]
        said = [{**turn, "cache_control": MARK} if at in marked else turn for at, turn in enumerate(turns)]
        members = {"model": "m", name: said, **frame} if is_first else {"model": "m", **frame, name: said}
        body = json.dumps(members, separators=separators, ensure_ascii=is_ascii).encode()
        bodies.append(draw(DAMAGES)(body) if draw(st.integers(0, 5)) == 0 else body)
        change = draw(st.sampled_from(["grow"] * 5 + ["same", "fork", "edit", "frame", "spell"]))
        if change == "fork":
            turns = turns[: draw(st.integers(1, len(turns)))]
        elif change == "edit":
            at = draw(st.integers(0, len(turns) - 1))
            turns = [*turns[:at], draw(further), *turns[at + 1 :]]
        elif change == "frame":
            frame = draw(FRAMES)
        elif change == "spell":
            separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
        if change != "same":
            turns = [*turns, *draw(st.lists(further, min_size=0 if change == "fork" else 1, max_size=4))]
    return dialect, bodies


def read(dialect, document: bytes, *, splice_usage: bool):
    """What a proxy learns of a body, and lets the dialect remember: plain values, or the words of the fault."""
    try:
        call = dialect.read(document, (), splice_usage=splice_usage)
    except ClientFault as fault:
        return fault.message, fault.param
    chain = prompt_chain(call.prompt)
    if call.growth is not None:
        call.growth.keep(call.prompt.kinds, chain)
    return facts(dialect, call, chain)


def read_afresh(dialect, document: bytes, *, splice_usage: bool):
    try:
        call = dialect.read_in_full(document, splice_usage=splice_usage)
    except ClientFault as fault:
        return fault.message, fault.param
    return facts(dialect, call, prompt_chain(call.prompt))


def facts(dialect, call, chain: PromptChain):
    prompt = call.prompt
    raws = [bytes(prompt.raws[position]) for position in range(-len(prompt.raws), 0)]
    assert list(map(bytes, prompt.raws)) == raws
    assert list(map(bytes, prompt.raws[1:-1])) == raws[1:-1]
    others = msgspec.structs.astuple(msgspec.structs.replace(call, prompt=None, growth=None))
    tails = [dialect.tail(prompt, first) for first in range(0, len(raws) + 1, 1 + len(raws) // 3)]
    return others, prompt.root, prompt.kinds, raws, prompt.answer, chain, tails, dialect.quotes(prompt)


@given(histories(), st.booleans())
@settings(max_examples=150)
def test_every_body_of_any_history_is_read_as_in_full(history, splice_usage):
    make, bodies = history
    dialect = make()
    for body in bodies:
        assert read(dialect, body, splice_usage=splice_usage) == read_afresh(make(), body, splice_usage=splice_usage)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60), st.integers(4, 200))
@example([0, 1, 0, 2, 0, 3], 8)
def test_what_is_remembered_stays_within_its_bound_whichever_bodies_come(numbers, kib):
    dialect = ChatDialect()
    beginnings = dialect.beginnings
    beginnings.max_bytes = kib * 1024
    for number in numbers:
        turns = [{"role": "user", "content": f"{number % 7} " + BULK * 16}, {"role": "assistant", "content": "a"}]
        turns += [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}] * (number // 7)
        body = json.dumps({"model": "m", "messages": [*turns, {"role": "user", "content": "d"}]}).encode()
        assert read(dialect, body, splice_usage=False) == read_afresh(dialect, body, splice_usage=False)
        assert beginnings.num_bytes == sum(beginning.num_bytes for beginning in beginnings) <= beginnings.max_bytes
