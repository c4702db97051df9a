"""Media and copies against a counter of each block in each medium, over random histories of two replicas."""

from collections import Counter
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from turnwise.events import DISK, DRAM, GPU, BlocksCleared, BlocksRemoved, BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report
from turnwise.index.block_runs import RUN_MASK
from turnwise.settings import IndexSettings
from turnwise.types import CallId, HitSource, PromptChain

BLOCK = 16
KEY = DomainKey(model="m", block_size=BLOCK, algorithm="sha256")
CHAINS = [list(range(1000, 1300)), list(range(1000, 1100)) + list(range(5000, 5150)), list(range(1000, 1003))]
PROMPTS = [PromptChain((bytes([number]) * 16,), (len(chain) * 64,)) for number, chain in enumerate(CHAINS)]
REPLICAS = ["a", "b"]
STEP = 30
"""Blocks of an event as the prompts are taught, so that the chains part in the midst of one."""

replicas = st.sampled_from(REPLICAS)
media = st.sampled_from([GPU, GPU, DRAM, DRAM, DISK])
chains = st.sampled_from(CHAINS)
spans = st.tuples(
    st.sampled_from([0, 0, 0, 30, 77, 100, 200]) | st.integers(0, 300), st.sampled_from([300, 120, 30]) | st.integers(1, 300)
)
stored = st.tuples(st.just("stored"), replicas, media, chains, spans)
named = st.tuples(st.just("named"), replicas, st.sampled_from([DRAM, DISK]), chains, spans)
removed = st.tuples(st.just("removed"), replicas, media, chains, spans)
evicted = st.tuples(st.just("evicted"), replicas, media, chains, spans)
cleared = st.tuples(st.just("cleared"), replicas, media, chains, spans)


class World:
    """What is said to the index is counted as well: how often each replica holds each block in each medium."""

    def __init__(self):
        self.index = KvIndex(IndexSettings(bytes_per_token=4.0, predicted_ttl_s=1.0, unconfirmed_ttl_s=1.0))
        self.held = {(replica, medium): Counter() for replica in REPLICAS for medium in (GPU, DRAM, DISK)}
        for replica in (*REPLICAS, "teacher"):
            self.index.add_replica(replica, KEY, num_blocks=None, has_events=True)
        for number, chain in enumerate(CHAINS):
            call_id = CallId(f"c{number}")
            for start in range(0, len(chain), STEP):
                parent = chain[start - 1] if start else None
                self.apply("teacher", BlocksStored(tuple(chain[start : start + STEP]), parent, BLOCK, call_id=call_id))
            report = Report(len(chain) * BLOCK + 1)
            assert self.index.settle(call_id, PROMPTS[number], "teacher", report, 0.0).is_taught

    def apply(self, replica, *events):
        self.index.apply(replica, EventBatch(0, 0, events), 0.0)

    def step(self, kind, replica, medium, chain, span):
        first, length = span
        part = chain[min(first, len(chain) - 1) :][:length]
        start = chain.index(part[0])
        held = self.held[replica, medium]
        if kind == "stored":
            self.apply(replica, BlocksStored(tuple(part), chain[start - 1] if start else None, BLOCK, medium))
            held.update(part)
        elif kind == "named":
            self.apply(replica, *[BlocksStored((block,), None, 0, medium, is_chained=False) for block in part])
            held.update(part)
        elif kind == "removed":
            self.apply(replica, *[BlocksRemoved((block,), medium) for block in reversed(part)])
            held.subtract(part)
        elif kind == "evicted":
            # As an engine's GPU does: the tail of a prompt goes with all that hangs on it.
            gone = [
                block
                for block in held
                if any(other.index(part[0]) <= other.index(block) for other in CHAINS if {block, part[0]} <= {*other})
            ]
            for _ in range(max((held[block] for block in gone), default=0)):
                self.apply(replica, BlocksRemoved(tuple(block for block in gone if held[block] > 0), medium))
                held.subtract(block for block in gone if held[block] > 0)
        else:
            self.apply(replica, BlocksCleared())
            for other in (GPU, DRAM, DISK):
                self.held[replica, other].clear()
        for counter in self.held.values():
            for block in [block for block, count in counter.items() if count <= 0]:
                del counter[block]

    def naive(self, replica, chain):
        """Blocks from the GPU, from DRAM and from disk, with no gap: the GPU first, then what slower media add."""
        gpu, dram, disk = (self.held[replica, medium] for medium in (GPU, DRAM, DISK))
        depth = next((at for at, block in enumerate(chain) if not gpu[block]), len(chain))
        counts = [depth, 0, 0]
        for block in chain[depth:]:
            if not dram[block] and not disk[block]:
                break
            counts[1 if dram[block] else 2] += 1
        return counts

    def found(self, replica, number):
        hit = self.index.residency(PROMPTS[number], [replica], 1000.0).hits[replica]
        assert hit.source is (HitSource.CONFIRMED if hit.tokens else HitSource.NONE)
        dram, disk = hit.dram_tokens // BLOCK, hit.disk_tokens // BLOCK
        return [hit.tokens // BLOCK - dram - disk, dram, disk]

    def check_accounts(self):
        """Whatever is counted on the side must be what the blocks' values say."""
        mask_index = next(iter(self.index._domains)).index
        runs = mask_index._runs
        assert runs.extents == Counter(runs.values.values())
        for holder in (*mask_index._holders.values(), *mask_index._retired.values()):
            held = Counter(value & RUN_MASK for value in runs.values.values() if value & holder.bit)
            assert (holder.runs, holder.num_blocks) == (held, held.total())
            assert all(runs.values[block] & holder.bit for block in holder.copies)


@given(st.lists(st.one_of(stored, stored, named, removed, evicted, cleared), max_size=25))
@example(
    [
        ("stored", "a", GPU, CHAINS[0], (0, 1)),
        ("stored", "a", DISK, CHAINS[0], (0, 300)),
        ("named", "a", DRAM, CHAINS[0], (30, 300)),
    ]
)
@settings(deadline=None, max_examples=150)
def test_a_hit_is_the_gpu_prefix_and_then_what_slower_media_hold_without_a_gap(history):
    world = World()
    for step in history:
        world.step(*step)
    world.check_accounts()
    for replica in REPLICAS:
        gpu = world.held[replica, GPU]
        for number, chain in enumerate(CHAINS):
            if not any(gpu[block] and not gpu[before] for before, block in pairwise(chain)):
                assert world.found(replica, number) == world.naive(replica, chain)
        stats = world.index.stats().replicas[replica]
        assert stats.num_blocks == len(gpu)
        assert stats.num_copies == gpu.total() - len(gpu)
        assert (stats.num_dram_blocks, stats.num_disk_blocks) == tuple(
            len(world.held[replica, medium]) for medium in (DRAM, DISK)
        )


@given(st.lists(st.one_of(stored, named, removed, cleared), max_size=25))
@settings(deadline=None, max_examples=100)
def test_slower_media_never_add_a_block_that_none_of_them_holds(history):
    world = World()
    for step in history:
        world.step(*step)
    for replica in REPLICAS:
        for number, chain in enumerate(CHAINS):
            gpu, dram, disk = world.found(replica, number)
            assert all(
                world.held[replica, DRAM][block] or world.held[replica, DISK][block] for block in chain[gpu : gpu + dram + disk]
            )
