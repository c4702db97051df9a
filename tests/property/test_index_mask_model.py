"""The block index against a dict of sets, over random histories."""

from array import array
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.index.block_runs import RUN_MASK
from turnwise.index.counts import Counts
from turnwise.index.mask_index import MaskIndex
from turnwise.index.masks import reaches

CHAINS = [list(range(start, start + length)) for start, length in ((1000, 1), (2000, 7), (3000, 40), (4000, 150))]
CHAINS += [CHAINS[2][:20] + list(range(5000, 5030)), CHAINS[3][:64] + list(range(6000, 6010))]

replicas = st.integers(0, 5)
chains = st.sampled_from(CHAINS)
prefix = st.tuples(st.just("prefix"), replicas, chains, st.integers(1, 150))
grow = st.tuples(st.just("grow"), replicas, chains, st.integers(1, 30))
twice = st.tuples(st.just("twice"), replicas, chains, st.integers(1, 30))
cut = st.tuples(st.just("cut"), replicas, chains, st.integers(0, 150))
scatter = st.tuples(st.just("scatter"), replicas, chains, st.integers(1, 7))
leave = st.tuples(st.just("leave"), replicas, chains, st.just(0))
sweep = st.tuples(st.just("sweep"), replicas, chains, st.integers(1, 60))


class Model:
    """What is said to the index is done to a dict of sets as well."""

    def __init__(self, stride):
        self.index = MaskIndex(Counts(), verify_stride=stride)
        self.slots = {}
        self.sets = {}

    def slot(self, replica):
        if replica not in self.slots:
            self.slots[replica] = self.index.open_slot(10_000)
            self.sets[replica] = set()
        return self.slots[replica]

    def step(self, kind, replica, chain, number):
        slot = self.slot(replica)
        held = self.sets[replica]
        if kind == "prefix":
            self.index.store(slot, chain[:number], None)
            held.update(chain[:number])
        elif kind == "grow":
            # As an engine decodes: a block at a time after what is held.
            depth = self.naive_depth(replica, chain)
            for index in range(depth, min(depth + number, len(chain))):
                self.index.store(slot, chain[index : index + 1], chain[index - 1] if index else None)
            held.update(chain[depth : depth + number])
        elif kind == "twice":
            self.index.store(slot, chain[:number] + chain[: number // 2], None)
            held.update(chain[:number])
        elif kind == "cut":
            # As an engine evicts: a tail goes with all that hangs on it.
            gone = set(chain[number:])
            gone.update(*(other for other in CHAINS if gone & set(other[: len(chain)]) and other[:number] == chain[:number]))
            gone -= set(chain[:number])
            self.index.remove(slot, sorted(gone))
            held -= gone
        elif kind == "scatter":
            self.index.remove(slot, chain[::number])
            held.difference_update(chain[::number])
        elif kind == "leave":
            self.index.retire_slot(slot)
            del self.slots[replica], self.sets[replica]
        else:
            self.index.sweep(number)

    def naive_depth(self, replica, chain):
        return next((depth for depth, block in enumerate(chain) if block not in self.sets[replica]), len(chain))

    def check_accounts(self):
        """Whatever is counted on the side must be what the blocks' values say."""
        runs = self.index._runs
        assert runs.extents == Counter(runs.values.values())
        assert {run_id: run.num_held for run_id, run in runs._runs.items()} == Counter(
            value & RUN_MASK for value in runs.values.values()
        )
        assert all(block in runs.run_of(block).blocks for block in runs.values)
        assert not set(runs._free_runs) & set(runs._runs)
        for holder in (*self.index._holders.values(), *self.index._retired.values()):
            held = Counter(value & RUN_MASK for value in runs.values.values() if value & holder.bit)
            assert (holder.runs, holder.num_blocks) == (held, held.total())

    def found(self, chain):
        return dict(self.index.depths(array("Q", chain), len(chain), sum(1 << slot for slot in self.slots.values())))


@given(st.lists(st.one_of(prefix, prefix, grow, cut, leave, sweep), max_size=40))
@settings(deadline=None, max_examples=300)
def test_depths_and_sizes_equal_the_naive_ones_while_prefixes_are_whole(history):
    model = Model(stride=64)
    for step in history:
        model.step(*step)
    for chain in CHAINS:
        expected = {slot: depth for replica, slot in model.slots.items() if (depth := model.naive_depth(replica, chain)) > 0}
        assert model.found(chain) == expected
    for replica, slot in model.slots.items():
        assert model.index.num_blocks(slot) == len(model.sets[replica])
    while model.index.has_retired:
        model.index.sweep(100)
    assert model.index.num_unique_blocks == len(set().union(*model.sets.values()))


@given(st.lists(st.one_of(prefix, prefix, scatter, leave, sweep), max_size=40))
@settings(deadline=None, max_examples=200)
def test_with_holes_the_deepest_is_still_right_and_nobody_holds_what_never_was_stored(history):
    model = Model(stride=1)
    for step in history:
        model.step(*step)
    for chain in CHAINS:
        found = model.found(chain)
        names = {slot: replica for replica, slot in model.slots.items()}
        if found:
            deepest = max(found, key=found.get)
            assert found[deepest] == model.naive_depth(names[deepest], chain)
        for slot, depth in found.items():
            assert depth == 0 or chain[depth - 1] in model.sets[names[slot]]


@given(st.lists(st.one_of(prefix, grow, twice, cut, scatter, leave, sweep), max_size=40))
@settings(deadline=None, max_examples=200)
def test_the_accounts_equal_what_the_blocks_say_and_nothing_is_left_when_all_are_gone(history):
    model = Model(stride=64)
    for step in history:
        model.step(*step)
        model.check_accounts()
    for slot in model.slots.values():
        model.index.retire_slot(slot)
    while model.index.has_retired:
        assert model.index.sweep(7) >= 0
    assert not model.index._runs.values
    assert not model.index._runs.extents
    assert not model.index._runs._runs


@given(st.lists(st.one_of(prefix, grow, cut, leave, sweep), max_size=30))
@settings(deadline=None, max_examples=200)
def test_a_walk_from_any_held_block_gives_the_chain_up_to_it(history):
    model = Model(stride=64)
    for step in history:
        model.step(*step)
    for replica in model.slots:
        for chain in CHAINS:
            depth = model.naive_depth(replica, chain)
            if depth:
                walk = model.index.walk(chain[depth - 1], ())
                assert (walk.blocks, walk.stop, walk.is_whole) == (chain[:depth], None, True)
                stop = chain[depth // 2]
                assert model.index.walk(chain[depth - 1], {stop}).blocks == chain[depth // 2 + 1 : depth]
                between = model.index.between(stop, chain[depth - 1])
                assert between is None or list(between) == chain[depth // 2 + 1 : depth]


@given(st.lists(st.integers(0, 400), max_size=90), st.integers(0, 400), st.integers(1, 200))
@settings(deadline=None, max_examples=200)
def test_reaches_are_the_naive_ones_however_many_and_far_apart_with_and_without_extents(depths, length, run):
    chain = [block * 7 for block in range(400)]
    values = {
        block: sum(1 << (slot + 9) for slot, depth in enumerate(depths) if index < depth) | index // run
        for index, block in enumerate(chain)
        if index < max(depths, default=0)
    }
    # Another chain goes on from the middle of each run, so its values are more than lie side by side here.
    values |= {-block: value for block, value in values.items() if block % 14 and block}
    wanted = ((1 << len(depths)) - 1) << 9
    for extents in (None, Counter(values.values())):
        found = reaches(values, chain, length, wanted, extents)
        naive = {slot: min(depth, length) for slot, depth in enumerate(depths) if min(depth, length)}
        assert {slot: depth for mask, depth in found for slot in range(len(depths)) if mask >> (slot + 9) & 1} == naive
        assert [depth for _, depth in found] == sorted({*naive.values()}, reverse=True)
