"""Digests of prompt prefixes."""

from itertools import combinations

import pytest
from xxhash import xxh3_128

from turnwise.index import prompt_chain
from turnwise.index.chains import COPIED_UP_TO_BYTES
from turnwise.types import Prompt, Segment, SegmentKind


def chain(*segments, root=b"model"):
    return prompt_chain(Prompt.of(root, (Segment(kind, raw) for kind, raw in segments)))


SYSTEM, USER, TOOL = SegmentKind.SYSTEM, SegmentKind.USER, SegmentKind.TOOL


def test_a_grown_prompt_keeps_the_digests_of_its_shorter_form():
    short = chain((SYSTEM, b"be brief"), (USER, b"hello"))
    grown = chain((SYSTEM, b"be brief"), (USER, b"hello"), (TOOL, b"{}"))
    assert grown.digests[:2] == short.digests
    assert grown.ends == (8, 13, 15)
    assert grown.num_bytes == 15


def test_each_segment_has_one_digest_of_16_bytes_and_the_digest_is_the_same_in_every_process():
    digests = chain((SYSTEM, b"be brief"), (USER, b"hello")).digests
    assert [digest.hex() for digest in digests] == ["acc41dec75b5e27311bdf33fd373d25f", "1d3b88a117718c4e8e2f053acdb2a6be"]


def test_prompts_that_differ_in_root_kind_bytes_order_or_boundary_never_share_a_last_digest():
    prompts = [
        chain((SYSTEM, b"ab"), (USER, b"c")),
        chain((SYSTEM, b"a"), (USER, b"bc")),
        chain((SYSTEM, b"abc")),
        chain((SYSTEM, b"ab"), (TOOL, b"c")),
        chain((USER, b"c"), (SYSTEM, b"ab")),
        chain((SYSTEM, b"ab"), (USER, b"c"), (USER, b"")),
        chain((SYSTEM, b"ab"), (USER, b"c"), root=b"model+lora"),
        chain((SYSTEM, b"ab"), (USER, b"c"), root=b"model salt"),
        chain((SYSTEM, b"ab"), (USER, b"c"), root=b""),
    ]
    for left, right in combinations(prompts, 2):
        assert left.digests[-1] != right.digests[-1]


def test_another_root_shares_no_digest_at_all():
    plain, salted = chain((SYSTEM, b"ab"), (USER, b"c")), chain((SYSTEM, b"ab"), (USER, b"c"), root=b"salt")
    assert not set(plain.digests) & set(salted.digests)


@pytest.mark.parametrize("num_bytes", [0, 1, COPIED_UP_TO_BYTES, COPIED_UP_TO_BYTES + 1, 3 * COPIED_UP_TO_BYTES])
def test_a_segment_of_any_size_is_hashed_by_the_one_rule(num_bytes):
    (root_digest,) = chain((TOOL, b"x")).digests
    raw = b"y" * num_bytes
    hasher = xxh3_128(root_digest + b"user\0" + num_bytes.to_bytes(8, "little"))
    hasher.update(raw)
    assert chain((TOOL, b"x"), (USER, raw)).digests[1] == hasher.digest()
    assert chain((TOOL, b"x"), (USER, memoryview(raw))) == chain((TOOL, b"x"), (USER, raw))


def test_a_prompt_without_segments_has_an_empty_chain():
    empty = chain()
    assert (empty.digests, empty.ends, empty.num_bytes) == ((), (), 0)
