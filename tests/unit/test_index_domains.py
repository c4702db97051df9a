"""Which replicas share hashes, and what becomes of those that do not."""

import pytest

from turnwise.index.counts import Counts
from turnwise.index.domains import MAX_HEADS, Domains
from turnwise.index.values import DomainKey
from turnwise.types import PromptChain

KEY = DomainKey(model="m", block_size=16, algorithm="sha256")


@pytest.fixture
def domains():
    return Domains(4.0, Counts())


def test_replicas_with_one_complete_key_share_a_domain(domains):
    assert domains.join("a", KEY) is domains.join("b", KEY)
    assert len(domains) == 1


@pytest.mark.parametrize(
    "other",
    [
        DomainKey(model="n", block_size=16, algorithm="sha256"),
        DomainKey(model="m", block_size=32, algorithm="sha256"),
        DomainKey(model="m", block_size=16, algorithm="xxhash"),
    ],
)
def test_replicas_that_differ_in_any_fact_do_not(domains, other):
    assert domains.join("a", KEY) is not domains.join("b", other)


@pytest.mark.parametrize("key", [DomainKey(model="m"), DomainKey(model="m", block_size=16)])
def test_an_incomplete_key_is_a_domain_of_its_replica_alone(domains, key):
    assert domains.join("a", key) is not domains.join("b", key)


def test_one_head_under_two_hashes_is_disagreement_where_there_is_someone_to_disagree_with(domains):
    shared = domains.join("a", KEY)
    domains.join("b", KEY)
    assert shared.agrees(7, 100)
    assert shared.agrees(7, 100)
    assert shared.agrees(8, 200)
    assert not shared.agrees(7, 101)


def test_a_sole_member_whose_hashes_change_starts_its_evidence_anew(domains):
    domain = domains.join("a", KEY)
    assert domain.agrees(7, 100)
    prompt = PromptChain(digests=(b"d",), ends=(64,))
    domain.evidence.teach(
        prompt, base=None, kept=0, added=[100], anchors=((0, 16),), bytes_per_token=4.0, is_counted=True, block_size=16
    )
    assert domain.agrees(7, 101)
    assert len(domain.evidence) == 0
    assert domain.agrees(7, 101)


def test_remembered_heads_are_bounded(domains):
    shared = domains.join("a", KEY)
    domains.join("b", KEY)
    for head in range(MAX_HEADS + 1):
        shared.agrees(head, head)
    assert shared.agrees(0, 12345), "the oldest head is forgotten, so it is taken as it comes"
    assert not shared.agrees(MAX_HEADS, 12345)


def test_a_domain_without_members_goes_once_swept(domains):
    domain = domains.join("a", KEY)
    slot = domain.index.open_slot(100)
    domain.index.store(slot, [1, 2, 3], None)
    domain.index.retire_slot(slot)
    domain.members.discard("a")
    domains.prune()
    assert len(domains) == 1
    domain.index.sweep(100)
    domains.prune()
    assert len(domains) == 0


def test_domains_of_one_model_share_what_is_known_of_its_bytes_per_token(domains):
    alone = domains.join("a", DomainKey(model="m"))
    alone.rate.learn(300, 100)
    assert domains.join("b", KEY).rate.value == 3.0
    assert domains.join("c", DomainKey(model="n")).rate.value == 4.0


def test_trimming_takes_from_the_domain_that_remembers_most(domains):
    large, small = domains.join("a", KEY), domains.join("b", DomainKey(model="n"))
    for domain, count in ((large, 50), (small, 5)):
        for number in range(count):
            prompt = PromptChain(digests=(b"%d" % number,), ends=(64,))
            domain.evidence.teach(
                prompt,
                base=None,
                kept=0,
                added=[number],
                anchors=((0, 16),),
                bytes_per_token=4.0,
                is_counted=True,
                block_size=16,
            )
    domains.trim(large.evidence.num_bytes)
    assert len(small.evidence) == 5
    assert len(large.evidence) == 45
    domains.trim(0)
    assert len(small.evidence) == len(large.evidence) == 0
