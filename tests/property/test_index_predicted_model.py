"""Predicted runs against one record for each segment, over random histories; in these prompts a byte is a token."""

from collections import OrderedDict
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.index.capacity import Capacity
from turnwise.index.predicted import KEPT_SHARE, PredictedRuns
from turnwise.types import PromptChain

NAMES = "abc"


def size_of(path):
    """Bytes, and tokens, of the last segment of `path`."""
    return len(path) * 3 + ord(path[-1]) % 5


def length_of(path):
    return sum(size_of(path[:end]) for end in range(1, len(path) + 1))


def prefixes(path):
    return [path[:end] for end in range(1, len(path) + 1)]


def chain_of(path):
    return PromptChain(
        digests=tuple(prefix.encode() for prefix in prefixes(path)), ends=tuple(length_of(prefix) for prefix in prefixes(path))
    )


class FixedCapacity(Capacity):
    """One that learns nothing."""

    def sure(self, *, is_suspected):
        return 0.0

    def found(self, distance, num_claimed):
        pass

    def missed(self, distance, num_claimed):
        pass

    def fits(self, num_tokens):
        pass


class Model:
    """One record a segment, the first to go first; of its tokens some are lost."""

    def __init__(self, max_tokens):
        self.max_tokens = max_tokens
        self.held = OrderedDict()
        self.running = set()

    def num_tokens(self):
        return sum(size_of(prefix) - segment.lost for prefix, segment in self.held.items())

    def use(self, path):
        for prefix in reversed(prefixes(path)):
            segment = self.held.setdefault(prefix, SimpleNamespace())
            segment.lost, segment.used_for = 0, path
            self.held.move_to_end(prefix)

    def book(self, path, now):
        self.use(path)
        for prefix in prefixes(path):
            self.held[prefix].booked_at = now
        self.running = {other for other in self.running if not path.startswith(other)} | {path}
        self.bound()

    def bound(self):
        renewed = set()
        while (excess := self.num_tokens() - self.max_tokens) > 0:
            prefix = next(prefix for prefix, segment in self.held.items() if size_of(prefix) > segment.lost)
            segment = self.held[prefix]
            if segment.used_for in self.running - renewed:
                renewed.add(segment.used_for)
                self.use(segment.used_for)
            else:
                segment.lost += min(excess, size_of(prefix) - segment.lost)
        while sum(map(size_of, self.held)) > KEPT_SHARE * self.max_tokens:
            self.drop(next(iter(self.held)))

    def drop(self, prefix):
        dropped = self.held.pop(prefix)
        self.running.discard(prefix)
        for segment in self.held.values():
            if segment.used_for == prefix == dropped.used_for:
                segment.used_for = prefix[:-1]

    def settle(self, path):
        if path in self.held:
            self.running.discard(path)
        found = [prefix for prefix in prefixes(path) if prefix in self.held]
        if found:
            self.use(found[-1])
        self.bound()

    def sweep(self, before, max_segments):
        while self.held and max_segments:
            oldest = next(iter(self.held))
            if self.held[oldest].booked_at >= before:
                break
            self.drop(oldest)
            max_segments -= 1
        return max_segments

    def tokens_since(self, path, since):
        tokens = 0
        for prefix in prefixes(path):
            segment = self.held.get(prefix)
            if segment is None or segment.booked_at < since:
                break
            tokens += size_of(prefix) - segment.lost
            if segment.lost:
                break
        return tokens


paths = st.text(NAMES, min_size=1, max_size=8)
books = st.tuples(st.just("book"), paths, st.none())
settles = st.tuples(st.just("settle"), paths, st.none() | st.integers(0, 150))
sweeps = st.tuples(st.just("sweep"), st.integers(0, 20), st.integers(1, 12))


@given(st.lists(st.one_of(books, books, settles, sweeps), max_size=40), st.sampled_from([60, 150, 10_000]), st.integers(1, 3))
@settings(deadline=None, max_examples=200)
def test_what_is_held_and_how_old_it_is_equals_the_naive_count(history, max_tokens, calls_per_s):
    runs, model = PredictedRuns(FixedCapacity(None, max_tokens)), Model(max_tokens)
    asked = set()
    for step, (kind, what, number) in enumerate(history):
        now = float(step // calls_per_s)
        if kind == "book":
            asked.add(what)
            runs.book(chain_of(what), length_of(what), now)
            model.book(what, now)
        elif kind == "settle":
            asked.add(what)
            runs.settle(chain_of(what), length_of(what), number, now)
            model.settle(what)
        else:
            assert runs.sweep(now - what, number) == model.sweep(now - what, number)
        assert (runs.num_segments, runs.num_tokens) == (len(model.held), model.num_tokens())
        for path in asked:
            for since in (0.0, now - 2, now):
                for more in (path, path + "a", path[:-1] + "c", path[: len(path) // 2 + 1]):
                    assert runs.tokens_since(chain_of(more), since) == model.tokens_since(more, since)


@given(
    st.lists(st.tuples(st.sampled_from(["book", "settle"]), paths, st.none() | st.integers(0, 100)), max_size=30),
    st.sampled_from([60, 10_000]),
)
@settings(deadline=None, max_examples=100)
def test_whatever_lengths_are_told_they_add_up_stay_bounded_and_never_fall_along_a_run(history, max_tokens):
    runs = PredictedRuns(Capacity(None, max_tokens))
    for step, (kind, path, number) in enumerate(history):
        chain = chain_of(path)
        if kind == "book":
            runs.book(chain, length_of(path) if number is None else number, float(step))
        else:
            runs.settle(chain, number, None, float(step))
            if number is not None and runs.num_kept_tokens <= max_tokens and path.encode() in _segments(runs):
                assert runs.tokens_since(chain, 0.0) == number
        assert runs.num_kept_tokens == sum(run.size for run in runs.heads.values())
        assert runs.num_tokens == sum(run.size - run.num_lost for run in runs.heads.values())
        assert all(0 <= run.num_lost <= run.size for run in runs.heads.values())
        assert runs.num_tokens <= runs.capacity.tokens
        assert runs.num_kept_tokens <= KEPT_SHARE * runs.capacity.tokens
        for run in runs.heads.values():
            tokens = [run.tokens_at(depth) for depth in range(run.first, run.end + 1)]
            assert tokens == sorted(tokens)
            for told in {told + beside for told in tokens for beside in (-1, 0, 1)}:
                within = [depth for depth in range(run.first, run.end + 1) if run.tokens_at(depth) <= told]
                assert run.depth_at(told) == max(within, default=run.first)


def _segments(runs):
    return {digest for run in runs.heads.values() for digest in run.digests}
