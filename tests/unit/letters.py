"""An engine for tests of the index: a byte is a token, a block is four, and its events are made as they are asked for."""

import msgspec
import xxhash

from turnwise.events import BlocksStored, EventBatch
from turnwise.index import DomainKey, KvIndex, Report, prompt_chain
from turnwise.settings import IndexSettings
from turnwise.types import BLOCK_HASH_MASK, Answer, HitSource, LastAnswer, Prompt, Segment, SegmentKind

BLOCK = 4
KEY = DomainKey(model="m", block_size=BLOCK, algorithm="sha256")
SETTINGS = IndexSettings(bytes_per_token=1.0, predicted_ttl_s=600.0, unconfirmed_ttl_s=5.0)
LATE = 1_000_000.0
"""So late that no prediction lives."""


def chain_of(*segments, root=b"m"):
    """The chain of a prompt of (kind, bytes)."""
    return prompt_chain(Prompt.of(root, (Segment(kind, raw) for kind, raw in segments)))


def chain(*parts, says=None, root=b"m"):
    """The chain of a prompt of user turns; `says` is (position, what the assistant's turn there says)."""
    digests = chain_of(*((SegmentKind.USER, part) for part in parts), root=root)
    if says is None:
        return digests
    position, said = says
    return msgspec.structs.replace(digests, answer=LastAnswer(position, position, said))


def hashes(text):
    """Hashes of the full blocks of a rendered prompt."""
    return [xxhash.xxh3_64_intdigest(text[:end]) & BLOCK_HASH_MASK for end in range(BLOCK, len(text) + 1, BLOCK)]


def stored(text, call_id=None, first=0, last=None):
    """The event of an engine that stores blocks `first` to `last` of a text."""
    blocks = tuple(hashes(text))
    return BlocksStored(
        hashes=blocks[first:last], parent=blocks[first - 1] if first else None, block_size=BLOCK, call_id=call_id
    )


def cached(text):
    """Tokens that an engine finds of a prompt that it holds wholly."""
    return (len(text) - 1) // BLOCK * BLOCK


def says(text="", calls="", reasoning=""):
    """What an assistant turn says."""
    return Answer(*(xxhash.xxh3_64_intdigest(part.encode()) if part else 0 for part in (text, calls, reasoning)))


class World:
    """An index that follows replicas `a` and `b`, and the calls made there."""

    def __init__(self, **settings):
        self.index = KvIndex(msgspec.structs.replace(SETTINGS, **settings))
        for name in ("a", "b"):
            self.index.add_replica(name, KEY, num_blocks=1000, has_events=True)
        self._num_calls = 0

    def apply(self, *events, replica="a"):
        """Let the index hear these events."""
        self.index.apply(replica, EventBatch(sequence=0, rank=0, events=events), 0.0)

    def settle(self, call_id, prompt, text, *, replica="a", cached=None, completion=None, said=None, now=1.0):
        """The engine has answered a prompt that it rendered as `text`."""
        return self.index.settle(call_id, prompt, replica, Report(len(text), cached, completion, said), now)

    def call(self, prompt, text, decoded=b"", *, first=0, replica="a", said=None, cached=None):
        """A whole call whose events come before its answer: the engine stores what is new of prompt and answer."""
        self._num_calls += 1
        call_id = f"call {self._num_calls}"
        computed = text + decoded[:-1]
        if first < len(computed) // BLOCK:
            self.apply(stored(computed, call_id, first=first), replica=replica)
        return self.settle(
            call_id, prompt, text, replica=replica, cached=cached, completion=len(decoded) if decoded else None, said=said
        )

    def hit(self, prompt, replica="a"):
        """Blocks believed to be held of a prompt, and by whose word."""
        hit = self.index.residency(prompt, [replica], LATE).hits[replica]
        return hit.tokens // BLOCK, hit.source

    def confirmed(self, prompt, replica="a"):
        """Blocks held of a prompt by the engine's word; by estimate there may be more."""
        blocks, source = self.hit(prompt, replica)
        return blocks if source is HitSource.CONFIRMED else 0
