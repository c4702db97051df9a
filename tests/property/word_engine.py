"""Synthetic engines for models of the index: they render, tokenize, cache and evict, and tell what they do."""

from collections import OrderedDict

import xxhash
from hypothesis import strategies as st

from turnwise.events import BlocksRemoved, BlocksStored
from turnwise.index import prompt_chain
from turnwise.types import BLOCK_HASH_MASK, Prompt, Segment, SegmentKind

BLOCK = 4
LATE = 1_000_000.0
KINDS = (SegmentKind.SYSTEM, SegmentKind.USER, SegmentKind.ASSISTANT, SegmentKind.TOOL)


def render(messages, *, drops_reasoning=False):
    """Tokens of a prompt: a header a message, then one to three tokens a word; reasoning may stay in the last message only."""
    tokens = ["<bos>"]
    for position, (kind, text) in enumerate(messages):
        if drops_reasoning and position < len(messages) - 1 and kind is SegmentKind.ASSISTANT:
            text = text[len(text) // 2 :]  # noqa: PLW2901 - the template shortens what it shows
        tokens.append(f"<{kind}>")
        for word in text.split():
            tokens += [f"{word}.{part}" for part in range(1 + len(word) % 3)]
        tokens.append("<end>")
    return tokens


def hashes(tokens):
    running, found = 0, []
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        running = xxhash.xxh3_64_intdigest("\0".join(tokens[end - BLOCK : end]).encode(), running) & BLOCK_HASH_MASK
        found.append(running)
    return found


def chain_of(messages):
    return prompt_chain(Prompt.of(b"m", (Segment(kind, text.encode()) for kind, text in messages)))


class Engine:
    """A prefix cache with eviction, least recently used and tail first."""

    def __init__(self, num_blocks):
        self.cache = OrderedDict()
        self.num_blocks = num_blocks

    def cached(self, blocks):
        return next((depth for depth, block in enumerate(blocks) if block not in self.cache), len(blocks))

    def serve(self, call_id, blocks, chunk):
        """Run a prompt; returns its block events, `chunk` blocks each."""
        start = self.cached(blocks)
        events = []
        for first in range(start, len(blocks), chunk):
            stored = tuple(blocks[first : first + chunk])
            parent = blocks[first - 1] if first else None
            events.append(BlocksStored(hashes=stored, parent=parent, block_size=BLOCK, call_id=call_id))
        for block in reversed(blocks):
            self.cache[block] = None
            self.cache.move_to_end(block)
        while len(self.cache) > self.num_blocks:
            gone, _ = self.cache.popitem(last=False)
            events.append(BlocksRemoved(hashes=(gone,)))
        return events


words = st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "eeeee", "ffffff"]), min_size=0, max_size=12).map(" ".join)


@st.composite
def fleets(draw):
    """Calls of a few sessions: (session, replica, text to add, chunk, whether events come after the answer)."""
    systems = draw(st.lists(words, min_size=1, max_size=2))
    calls = draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), words, st.integers(1, 5), st.booleans()), max_size=25)
    )
    return systems, calls
