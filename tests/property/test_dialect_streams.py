"""However a stream is cut into reads, the tap learns the same and the filter passes the same bytes."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.dialects.openai_tap import GenerationTap
from turnwise.dialects.usage_filter import MAX_EVENT_BYTES, UsageFilter

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
CONTENTS = st.sampled_from(["", "Hi", "\r\n\n", '"usage":{"choices":[]', "é\u2028", 'data: {"choices":[],"usage":{}}'])
DELTAS = st.one_of(
    st.builds(lambda text: {"content": text}, CONTENTS),
    st.builds(lambda text: {"reasoning": text}, CONTENTS),
    st.builds(lambda text: {"tool_calls": [{"function": {"arguments": text}}]}, CONTENTS),
)
CHUNKS = st.builds(
    lambda delta, reason, extra: {"choices": [{"delta": delta, "finish_reason": reason}], **extra},
    DELTAS,
    st.sampled_from([None, None, None, "stop", "tool_calls"]),
    st.sampled_from([{}, {}, {"usage": None}, {"usage": USAGE}]),
)
ENCODERS = st.sampled_from([(",", ":"), (", ", ": ")])
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
USAGE_CHUNK = {"id": "c", "choices": [], "usage": USAGE}
OTHERS = (b": ping", b"event: x", b"data: [DONE]", b"data: garbage", b'data: {"choices":[]}', b"data:", b"")


@st.composite
def streams(draw) -> tuple[list[bytes], list[bool]]:
    """Events with their ends, and for each whether it is usage alone."""
    separators, end = draw(ENCODERS), draw(LINE_ENDS)

    def encode(chunk) -> bytes:
        return b"data: " + json.dumps(chunk, separators=separators, ensure_ascii=False).encode()

    lines = draw(st.lists(st.one_of(CHUNKS.map(encode), st.sampled_from(OTHERS), st.just(encode(USAGE_CHUNK))), max_size=12))
    unfinished = draw(st.booleans())
    events = [line + end * 2 for line in lines]
    if unfinished and events:
        events[-1] = lines[-1]
    return events, [line == encode(USAGE_CHUNK) for line in lines]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]


PLACES = st.lists(st.integers(0, 5000), max_size=30)


def facts(reads: list[bytes]):
    tap = GenerationTap()
    tap.on_head(200, is_stream=True)
    for data in reads:
        tap.feed(data, 1.0)
    tap.close(1.0)
    return tap.usage, tap.first_token_at, tap.first_visible_at, tap.finish_reason


def filtered(reads: list[bytes]) -> bytes:
    watched = UsageFilter()
    return b"".join([*map(watched.feed, reads), watched.close()])


@given(streams(), PLACES)
def test_the_tap_learns_the_same_from_any_split(stream, places):
    whole = b"".join(stream[0])
    expected = facts([whole])
    assert facts(cut(whole, places)) == expected
    assert facts([whole[at : at + 1] for at in range(len(whole))]) == expected


@given(streams(), PLACES)
def test_the_filter_drops_usage_alone_and_passes_every_other_byte_for_any_split(stream, places):
    events, is_usage = stream
    whole = b"".join(events)
    expected = b"".join(event for event, dropped in zip(events, is_usage, strict=True) if not dropped)
    assert filtered(cut(whole, places)) == expected
    assert filtered([whole[at : at + 1] for at in range(len(whole))]) == expected


@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
def test_the_tap_never_raises_on_garbage(reads, is_stream):
    tap = GenerationTap()
    tap.on_head(200, is_stream=is_stream)
    for data in reads:
        tap.feed(data, 1.0)
        tap.feed(b'data: {"choices":' + data + b"}\n", 1.0)
    tap.close(1.0)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_the_filter_passes_garbage_unchanged(reads):
    assert filtered(reads) == b"".join(reads)


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=10), LINE_ENDS)
@pytest.mark.parametrize("num_bytes", [MAX_EVENT_BYTES - 100, 3 * MAX_EVENT_BYTES])
def test_an_event_too_long_to_hold_flows_on_and_the_filter_finds_its_feet_behind_it(num_bytes, sizes, end):
    usage = b"data: " + json.dumps(USAGE_CHUNK).encode() + end * 2
    long_event = b"data: " + b"x" * num_bytes + end * 2
    whole = usage + long_event + usage + b"data: [DONE]" + end * 2
    reads, at = [], 0
    while at < len(whole):
        size = sizes[len(reads) % len(sizes)] + 500
        reads.append(whole[at : at + size])
        at += size
    assert filtered(reads) == long_event + b"data: [DONE]" + end * 2


def test_a_long_event_is_not_held_in_memory_until_it_ends():
    watched = UsageFilter()
    passed = [watched.feed(b"x" * 10_000) for _ in range(20)]
    assert sum(map(len, passed)) >= 200_000 - MAX_EVENT_BYTES - 20_000
    assert watched.feed(b"\n\n").endswith(b"\n\n")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_the_end_of_a_long_event_is_seen_byte_by_byte(end):
    watched = UsageFilter()
    usage = b"data: " + json.dumps(USAGE_CHUNK).encode() + end
    reads = [b"x" * (MAX_EVENT_BYTES + 1), *(end[at : at + 1] for at in range(len(end))), usage]
    assert b"".join([*map(watched.feed, reads), watched.close()]) == reads[0] + end


def test_a_complete_event_is_never_held_back():
    watched = UsageFilter()
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        assert watched.feed(b"data: x" + end) == b"data: x" + end
        assert watched.feed(b"data: y" + end + b"data: half") == b"data: y" + end
        assert watched.feed(end) == b"data: half" + end
