"""What a digest is sensitive to: every leaf that an engine may render, and nothing else."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.dialects import DIALECTS
from turnwise.index.chains import prompt_chain
from turnwise.types import DialectName

NAMES = (DialectName.CHAT, DialectName.MESSAGES, DialectName.RESPONSES)
EVERY_API = pytest.mark.parametrize("name", NAMES)
WORDS = st.sampled_from(["", "a", "call_1", '"', "\\", "é", "line\nline", "x" * 5000])
STYLES = st.sampled_from([{"separators": (",", ":")}, {}, {"ensure_ascii": False}])
SCHEMAS = st.recursive(
    st.one_of(WORDS, st.booleans(), st.integers(0, 9), st.none()),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "properties"]), inner, max_size=2)
    ),
    max_leaves=4,
)
ARGUMENTS = st.fixed_dictionaries({}, optional={"city": WORDS, "options": SCHEMAS})


def flat(kind: str, **fields):
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


CHAT_TURNS = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": WORDS}),
    st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(flat("text", text=WORDS), min_size=1, max_size=2)}),
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "reasoning": WORDS,
            "tool_calls": st.lists(
                st.fixed_dictionaries({"id": WORDS, "function": st.fixed_dictionaries({"name": WORDS, "arguments": WORDS})}),
                max_size=2,
            ),
        }
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": WORDS, "content": WORDS}),
)
BLOCKS = st.one_of(
    flat("text", text=WORDS),
    flat("thinking", thinking=WORDS, signature=WORDS),
    flat("tool_use", id=WORDS, name=WORDS, input=ARGUMENTS),
    flat("tool_result", tool_use_id=WORDS, content=WORDS | st.lists(flat("text", text=WORDS), max_size=2)),
)
MESSAGES_TURNS = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": WORDS | st.lists(BLOCKS, min_size=1, max_size=3)}
)
ITEMS = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "developer"]), "content": WORDS}),
    flat("reasoning", id=WORDS, summary=st.lists(flat("summary_text", text=WORDS), max_size=2), encrypted_content=WORDS),
    flat("function_call", call_id=WORDS, name=WORDS, arguments=WORDS),
    flat("function_call_output", call_id=WORDS, output=WORDS),
    flat("of_tomorrow", anything=SCHEMAS),
)
TOOLS = st.lists(st.fixed_dictionaries({"name": WORDS, "description": WORDS, "parameters": SCHEMAS}), min_size=1, max_size=2)
RENDERED = {
    DialectName.CHAT: st.fixed_dictionaries(
        {"messages": st.lists(CHAT_TURNS, min_size=1, max_size=4)},
        optional={"tools": TOOLS, "chat_template_kwargs": ARGUMENTS, "reasoning_effort": WORDS, "documents": TOOLS},
    ),
    DialectName.MESSAGES: st.fixed_dictionaries(
        {"messages": st.lists(MESSAGES_TURNS, min_size=1, max_size=4)},
        optional={
            "tools": TOOLS,
            "system": WORDS | st.lists(flat("text", text=WORDS), min_size=1, max_size=3),
            "thinking": flat("enabled", budget_tokens=st.integers(1024, 9999)),
            "tool_choice": flat("tool", name=WORDS),
        },
    ),
    DialectName.RESPONSES: st.fixed_dictionaries(
        {"input": WORDS | st.lists(ITEMS, min_size=1, max_size=4)},
        optional={"tools": TOOLS, "instructions": WORDS, "reasoning": st.fixed_dictionaries({"effort": WORDS})},
    ),
}
TURNS = {
    DialectName.CHAT: ("messages", CHAT_TURNS),
    DialectName.MESSAGES: ("messages", MESSAGES_TURNS),
    DialectName.RESPONSES: ("input", ITEMS),
}
UNRENDERED = {
    "temperature": st.floats(0, 2),
    "stream": st.booleans(),
    "metadata": st.dictionaries(WORDS, WORDS, max_size=2),
    "service_tier": WORDS,
    "user": WORDS,
    "seed": st.integers(0, 9),
    "cache_control": st.just({"type": "ephemeral"}),
}
MARKED = ("messages", "system", "tools", "input")
MARKERS = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, {"ttl": "5m", "type": "ephemeral"}, None])


def digests(name: DialectName, body: dict, style: dict):
    raw = json.dumps({"model": "m", **body}, **style).encode()
    call = DIALECTS[name].read(raw, (), splice_usage=False)
    assert call.unhashed_bytes == 0
    return prompt_chain(call.prompt).digests


def places(value, is_wanted, path=()):
    """Paths to all parts of a tree that are wanted."""
    if is_wanted(value):
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, is_wanted, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def changed(leaf):
    if isinstance(leaf, bool):
        return not leaf
    if isinstance(leaf, int):
        return leaf + 1
    return "x" if leaf is None else f"{leaf}x"


@EVERY_API
@given(st.data(), STYLES)
def test_prompts_that_differ_in_one_rendered_leaf_differ_in_the_last_digest(name, data, style):
    body = data.draw(RENDERED[name])
    *parents, key = data.draw(st.sampled_from(list(places(body, lambda value: not isinstance(value, dict | list)))))
    other = copy.deepcopy(body)
    parent = at(other, parents)
    parent[key] = changed(parent[key])
    assert digests(name, other, style)[-1] != digests(name, body, style)[-1]


@EVERY_API
@given(st.data(), STYLES)
def test_what_is_not_rendered_changes_no_digest_wherever_it_stands(name, data, style):
    body = data.draw(RENDERED[name])
    extra = data.draw(st.fixed_dictionaries({}, optional=UNRENDERED))
    members = data.draw(st.permutations([*body.items(), *extra.items()]))
    assert digests(name, dict(members), style) == digests(name, body, style)


@EVERY_API
@given(st.data(), STYLES)
def test_markers_added_moved_or_removed_change_no_digest(name, data, style):
    body = data.draw(RENDERED[name])
    objects = [path for path in places(body, lambda value: isinstance(value, dict)) if path and path[0] in MARKED]
    plain = digests(name, body, style)
    for _ in range(2):
        marked = copy.deepcopy(body)
        for path in data.draw(st.lists(st.sampled_from(objects), unique=True)) if objects else []:
            where = at(marked, path)
            members = list(where.items())
            members.insert(data.draw(st.integers(0, len(members))), ("cache_control", data.draw(MARKERS)))
            where.clear()
            where.update(members)
        assert digests(name, marked, style) == plain


@EVERY_API
@given(st.data(), STYLES)
def test_a_conversation_that_goes_on_keeps_every_digest(name, data, style):
    member, turns = TURNS[name]
    body = data.draw(RENDERED[name])
    said = data.draw(st.lists(turns, min_size=2, max_size=5))
    earlier = digests(name, {**body, member: said[:-1]}, style)
    later = digests(name, {**body, member: said}, style)
    assert later[: len(earlier)] == earlier
    assert later[-1] not in earlier
