"""The audit: each argument of each API is hashed, or known to leave the prompt alone, or counted as unhashed."""

import json

import pytest

from turnwise.dialects import DIALECTS, arguments, chat, completions, messages, responses
from turnwise.index.chains import prompt_chain
from turnwise.types import DialectName

TURNS = [{"role": "user", "content": "hi"}]
BASE = {
    DialectName.CHAT: {"model": "m", "messages": TURNS},
    DialectName.COMPLETIONS: {"model": "m", "prompt": "hi"},
    DialectName.MESSAGES: {"model": "m", "messages": TURNS},
    DialectName.RESPONSES: {"model": "m", "input": TURNS},
}
HASHED = {
    DialectName.CHAT: chat.HASHED,
    DialectName.COMPLETIONS: completions.HASHED,
    DialectName.MESSAGES: messages.HASHED,
    DialectName.RESPONSES: responses.HASHED,
}
LEAVES_ALONE = {
    DialectName.CHAT: frozenset(),
    DialectName.COMPLETIONS: completions.LEAVES_ALONE,
    DialectName.MESSAGES: messages.LEAVES_ALONE,
    DialectName.RESPONSES: responses.LEAVES_ALONE,
}
VALUES = {
    "stream": True, "n": 2, "max_tokens": 5, "max_completion_tokens": 5, "max_output_tokens": 5, "store": False,
    "stream_options": {"include_usage": True}, "previous_response_id": "resp_1", "conversation": "conv_1", "model": "other",
    "messages": [*TURNS, *TURNS], "input": "other", "prompt": "other",
}  # fmt: skip


def read(name: DialectName, **members):
    return DIALECTS[name].read(json.dumps({**BASE[name], **members}).encode(), (), splice_usage=False)


def chain(name: DialectName, **members):
    return prompt_chain(read(name, **members).prompt)


@pytest.mark.parametrize(("name", "member"), [(name, member) for name in BASE for member in sorted(HASHED[name])])
def test_every_argument_that_counts_as_hashed_changes_the_last_digest(name, member):
    value = VALUES.get(member, "other")
    assert chain(name, **{member: value}).digests[-1] != chain(name).digests[-1]
    assert read(name, **{member: value}).unhashed_bytes == 0


@pytest.mark.parametrize(
    ("name", "member"),
    [(name, member) for name in BASE for member in sorted((arguments.NOT_RENDERED | LEAVES_ALONE[name]) - HASHED[name])],
)
def test_every_argument_that_counts_as_not_rendered_changes_no_digest(name, member):
    value = VALUES.get(member, "other")
    assert chain(name, **{member: value}) == chain(name)
    assert read(name, **{member: value}).unhashed_bytes == 0


@pytest.mark.parametrize("name", list(BASE))
def test_no_argument_is_both(name):
    assert not HASHED[name] & (arguments.NOT_RENDERED | LEAVES_ALONE[name])


@pytest.mark.parametrize("name", list(BASE))
def test_the_bytes_of_an_argument_that_nobody_knows_count_as_unhashed(name):
    assert read(name).unhashed_bytes == 0
    assert read(name, of_tomorrow="four", also={"a": 1}).unhashed_bytes == len('"four"') + len('{"a": 1}')
    assert read(name, of_tomorrow=None).unhashed_bytes == 0


def test_embeddings_beside_a_prompt_count_as_unhashed():
    assert read(DialectName.COMPLETIONS, prompt_embeds="AAAA").unhashed_bytes == len('"AAAA"')
