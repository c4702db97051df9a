"""Predicted runs against one record for each segment, over random histories; in these prompts a byte is a token."""

from collections import OrderedDict
from math import inf
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.index.predicted import PredictedRuns
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


class Model:
    """One record a segment, the first to go first."""

    def __init__(self, max_tokens):
        self.max_tokens = max_tokens
        self.held = OrderedDict()

    def num_tokens(self):
        return sum(map(size_of, self.held))

    def book(self, path, now):
        for prefix in reversed(prefixes(path)):
            segment = self.held.setdefault(prefix, SimpleNamespace(settled_at=inf))
            segment.booked_at = now
            self.held.move_to_end(prefix)
        while self.num_tokens() > self.max_tokens:
            self.held.popitem(last=False)

    def settle(self, path, cached_tokens, now):
        if cached_tokens is not None and path in self.held:
            self.correct(path, cached_tokens)
        for prefix in prefixes(path):
            if prefix in self.held:
                self.held[prefix].settled_at = now

    def correct(self, path, cached_tokens):
        booked_at = self.held[path].booked_at
        lost = {prefix for prefix in prefixes(path) if 2 * cached_tokens < 2 * length_of(prefix) - size_of(prefix)}
        own = set(prefixes(path))
        hanging = []
        for other in sorted(self.held, key=len):
            segment = self.held[other]
            if other[:-1] in lost and other not in own and max(segment.booked_at, segment.settled_at) < booked_at:
                lost.add(other)
                hanging.append(other)
        for other in reversed(hanging):
            if not any(longer[:-1] == other for longer in self.held):
                del self.held[other]

    def sweep(self, before, max_segments):
        while self.held and max_segments:
            oldest = next(iter(self.held))
            if self.held[oldest].booked_at >= before:
                break
            del self.held[oldest]
            max_segments -= 1
        return max_segments

    def tokens_since(self, path, since):
        return max(
            (length_of(prefix) for prefix in prefixes(path) if prefix in self.held and self.held[prefix].booked_at >= since),
            default=0,
        )


paths = st.text(NAMES, min_size=1, max_size=8)
books = st.tuples(st.just("book"), paths, st.none())
settles = st.tuples(st.just("settle"), paths, st.none() | st.integers(0, 150))
sweeps = st.tuples(st.just("sweep"), st.integers(0, 20), st.integers(1, 12))


@given(st.lists(st.one_of(books, books, settles, sweeps), max_size=40), st.sampled_from([60, 150, 10_000]), st.integers(1, 3))
@settings(deadline=None, max_examples=200)
def test_what_is_held_and_how_old_it_is_equals_the_naive_count(history, max_tokens, calls_per_s):
    runs, model = PredictedRuns(max_tokens), Model(max_tokens)
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
            model.settle(what, number, now)
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
    runs = PredictedRuns(max_tokens)
    for step, (kind, path, number) in enumerate(history):
        chain = chain_of(path)
        if kind == "book":
            runs.book(chain, length_of(path) if number is None else number, float(step))
        else:
            runs.settle(chain, number, None, float(step))
            if number is not None and runs.num_tokens <= max_tokens and path.encode() in _segments(runs):
                assert runs.tokens_since(chain, 0.0) == number
        assert runs.num_tokens == sum(run.size for run in runs.heads.values()) >= 0
        if kind == "book":
            assert runs.num_tokens <= max_tokens
        for run in runs.heads.values():
            tokens = [run.tokens_at(depth) for depth in range(run.first, run.end + 1)]
            assert tokens == sorted(tokens)
            for told in {told + beside for told in tokens for beside in (-1, 0, 1)}:
                within = [depth for depth in range(run.first, run.end + 1) if run.tokens_at(depth) <= told]
                assert run.depth_at(told) == max(within, default=run.first)


def _segments(runs):
    return {digest for run in runs.heads.values() for digest in run.digests}
