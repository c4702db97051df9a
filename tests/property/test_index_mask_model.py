"""The block index against a dict of sets, over random histories."""

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.index.counts import Counts
from turnwise.index.mask_index import MaskIndex

CHAINS = [list(range(start, start + length)) for start, length in ((1000, 1), (2000, 7), (3000, 40), (4000, 150))]
CHAINS += [CHAINS[2][:20] + list(range(5000, 5030)), CHAINS[3][:64] + list(range(6000, 6010))]

replicas = st.integers(0, 5)
chains = st.sampled_from(CHAINS)
prefix = st.tuples(st.just("prefix"), replicas, chains, st.integers(1, 150))
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

    def found(self, chain):
        return dict(self.index.depths(array("Q", chain), len(chain), sum(1 << slot for slot in self.slots.values())))


@given(st.lists(st.one_of(prefix, prefix, cut, leave, sweep), max_size=40))
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
