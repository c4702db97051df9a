"""What keeps prompts apart that agree in text: no digest is shared from where it acts on, and nothing is known across it."""

import gc
import json
import tracemalloc
from itertools import combinations

import pytest

from turnwise.dialects import DIALECTS
from turnwise.errors import ClientFault
from turnwise.events import BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report, prompt_chain
from turnwise.settings import IndexSettings
from turnwise.types import BlockHash, CallId, DialectName, HitSource, ReplicaId

CHAT, COMPLETIONS, MESSAGES, RESPONSES = NAMES = (
    DialectName.CHAT,
    DialectName.COMPLETIONS,
    DialectName.MESSAGES,
    DialectName.RESPONSES,
)


def image(kind, source):
    return {"role": "user", "content": [{"type": "text", "text": "what is this"}, {"type": kind, **source}]}


URLS = ("data:image/png;base64,AAAA", "data:image/png;base64,AAAB")
CHAT_IMAGES = [image("image_url", {"image_url": {"url": url}}) for url in URLS]
MESSAGES_IMAGES = [image("image", {"source": {"type": "base64", "data": url}}) for url in URLS]
RESPONSES_IMAGES = [image("input_image", {"image_url": url}) for url in URLS]
SYSTEM, USER = {"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f"}}
BASE = {
    CHAT: {"model": "m", "tools": [TOOL], "messages": [SYSTEM, USER, CHAT_IMAGES[0], USER]},
    COMPLETIONS: {"model": "m", "prompt": "word " * 1000},
    MESSAGES: {"model": "m", "tools": [{"name": "f"}], "system": "be brief", "messages": [USER, MESSAGES_IMAGES[0], USER]},
    RESPONSES: {"model": "m", "tools": [{"name": "f"}], "instructions": "be brief", "input": [USER, RESPONSES_IMAGES[0], USER]},
}
ROOT = (
    {"model": "m-lora"},
    {"cache_salt": "a"},
    {"cache_salt": "b"},
    {"mm_processor_kwargs": {"a": 1}},
    {"media_io_kwargs": {"a": 1}},
)
"""A served LoRA is a model by its name."""

ARGUMENTS = ({"enable_thinking": False}, {"enable_thinking": True})
FIRST = {
    CHAT: (
        *[{"chat_template_kwargs": value} for value in ARGUMENTS],
        {"chat_template": "{{ x }}"},
        {"add_generation_prompt": False},
        {"add_generation_prompt": False, "continue_final_message": True},
        {"reasoning_effort": "high"},
        {"documents": [{"text": "x"}]},
        {"response_format": {"type": "json_object"}},
        {"tool_choice": "none"},
        {"tools": [{"type": "function", "function": {"name": "g"}}]},
        {"tools": None},
    ),
    COMPLETIONS: ({"suffix": "x"}, {"add_special_tokens": False}, {"truncate_prompt_tokens": 5}, {"prompt": "Word " * 1000}),
    MESSAGES: (
        *[{"chat_template_kwargs": value} for value in ARGUMENTS],
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"tool_choice": {"type": "none"}},
        {"tools": [{"name": "g"}]},
        {"tools": None},
    ),
    RESPONSES: (
        *[{"chat_template_kwargs": value} for value in ARGUMENTS],
        {"reasoning": {"effort": "high"}},
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"tool_choice": "none"},
        {"tools": [{"name": "g"}]},
        {"tools": None},
    ),
}
"""What acts on a prompt from its start on."""

LATER = {
    CHAT: ((1, {"messages": [{"role": "system", "content": "be long"}, USER, CHAT_IMAGES[0], USER]}),
           (3, {"messages": [SYSTEM, USER, CHAT_IMAGES[1], USER]})),
    COMPLETIONS: ((1, {"prompt": "word " * 300 + "Word " * 700}),),
    MESSAGES: ((1, {"system": "be long"}), (3, {"messages": [USER, MESSAGES_IMAGES[1], USER]})),
    RESPONSES: ((1, {"instructions": "be long"}), (3, {"input": [USER, RESPONSES_IMAGES[1], USER]})),
}  # fmt: skip
"""What acts from a later place on, and how many segments stand before it."""

EVERY_API = pytest.mark.parametrize("name", NAMES)
STARTS = [(name, {}, change) for name in NAMES for change in (*ROOT, *FIRST[name])]
STARTS += [(name, one, other) for name in NAMES for one, other in combinations((*ROOT, *FIRST[name]), 2)]
R0 = ReplicaId("r0")
LARGE = "s" * (10 * 1024 * 1024)


def read(name, change=None):
    body = {key: value for key, value in {**BASE[name], **(change or {})}.items() if value is not None}
    return DIALECTS[name].read(json.dumps(body).encode(), (), splice_usage=False)


def chain(name, change=None):
    return prompt_chain(read(name, change).prompt)


@pytest.mark.parametrize(("name", "one", "other"), STARTS)
def test_prompts_that_differ_in_what_isolates_them_share_no_digest(name, one, other):
    assert not set(chain(name, one).digests) & set(chain(name, other).digests)


@pytest.mark.parametrize(("name", "num_shared", "change"), [(name, *case) for name in NAMES for case in LATER[name]])
def test_prompts_share_what_stands_before_the_first_difference_and_nothing_behind_it(name, num_shared, change):
    one, other = chain(name).digests, chain(name, change).digests
    assert set(one) & set(other) == set(one[:num_shared])
    assert len(one) > num_shared


def taught(index, name, change, call_id, first):
    """Let an engine store the blocks of a prompt and tell its length; gives the chain."""
    prompt = chain(name, change)
    blocks = tuple(BlockHash(first + number) for number in range(8))
    index.book(CallId(call_id), prompt, R0, 130, 0.0)
    index.apply(R0, EventBatch(0, 0, (BlocksStored(blocks, None, 16, call_id=call_id),)), 0.0)
    assert index.settle(CallId(call_id), prompt, R0, Report(130, 0, 5), 0.0).is_taught
    return prompt


def an_index():
    index = KvIndex(IndexSettings())
    index.add_replica(R0, DomainKey("m", 16, "sha256"), num_blocks=100, has_events=True)
    return index


@EVERY_API
@pytest.mark.parametrize("salt", [None, "b", "a ", ["a"], {"a": 1}, 5, ""])
def test_nothing_is_known_of_the_same_text_under_another_salt(name, salt):
    index = an_index()
    known = taught(index, name, {"cache_salt": "a"}, "c", 1)
    hit = index.residency(known, [R0], 0.0).hits[R0]
    assert (hit.tokens, hit.source) == (128, HitSource.CONFIRMED)
    other = index.residency(chain(name, {"cache_salt": salt}), [R0], 0.0)
    assert (other.is_taught, other.hits[R0].tokens) == (False, 0)


@EVERY_API
@pytest.mark.parametrize("member", ["cache_salt", "mm_processor_kwargs", "model"])
def test_a_huge_key_is_isolated_costs_its_own_bytes_and_is_kept_by_nobody(name, member):
    index = an_index()
    others = taught(index, name, {}, "c", 1)
    before = index.residency(others, [R0], 0.0)
    body = json.dumps({**BASE[name], member: LARGE}).encode()
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(3):
            prompt = prompt_chain(DIALECTS[name].read(body, (), splice_usage=True).prompt)
            index.book(CallId(f"huge{number}"), prompt, R0, 130, 0.0)
            index.settle(CallId(f"huge{number}"), prompt, R0, Report(130, 0, 5), 0.0)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not set(prompt.digests) & set(others.digests)
    assert index.residency(others, [R0], 0.0) == before
    assert kept < 200_000
    assert peak < 8 * len(LARGE)


@EVERY_API
@pytest.mark.parametrize("value", [5, [], {}, "", None, True])
def test_a_model_of_a_wrong_type_is_refused_by_its_name(name, value):
    with pytest.raises(ClientFault) as caught:
        read(name, {"model": value})
    assert (caught.value.status, caught.value.param) == (400, "model")


@EVERY_API
@pytest.mark.parametrize("member", ["cache_salt", "tools", "chat_template_kwargs", "mm_processor_kwargs", "tool_choice"])
@pytest.mark.parametrize("value", [5, [5], "x", {"a": [None]}])
def test_other_keys_of_a_wrong_type_are_relayed_as_they_are_for_the_engine_to_refuse(name, member, value):
    body = json.dumps({**BASE[name], member: value}).encode()
    assert DIALECTS[name].read(body, (), splice_usage=True).body == body
