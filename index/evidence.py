"""What engines taught of prompts: for a digest, an engine block chain and how far along it that digest reaches."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from turnwise.index.entries import BLOCK_BYTES, ENTRY_BYTES, BlockChain, Entry
from turnwise.index.estimate import tokens_at
from turnwise.types import BlockHash, Digest, PromptChain

MAX_CONTRADICTIONS = 3
"""Grown prompts that broke what their shorter form taught, before such growth is no longer trusted: a template that drops old
reasoning does it on every turn, so three are enough to know it and few enough to cost little."""

CONFIRMATIONS_TO_FORGIVE = 64
"""Grown prompts in a row that agreed, after which the contradictions were accidents (a date that changed at midnight)."""


class Known(msgspec.Struct, frozen=True, gc=False):
    """What evidence says of one prompt.

    `num_blocks` leading blocks of `chain` are believed to be this prompt's, the first `taught_blocks` of them by the engine's
    word and the rest by estimate. `anchors` are boundaries whose exact tokens are known, ascending in both: the deepest one at
    least, where there is any.
    """

    chain: BlockChain | None = None
    num_blocks: int = 0
    taught_blocks: int = 0
    is_taught: bool = False
    anchors: tuple[tuple[int, int], ...] = ()


UNKNOWN = Known()


class Evidence:
    """All that was taught within one hash domain, with its memory counted.

    The entries are a tree: who knows a digest knows those of all its prefixes. What was used longest ago is forgotten first
    and, of one prompt, its tail, so only entries on which no longer one hangs need an order.
    """

    def __init__(self) -> None:
        self.num_bytes = 0
        self.entries: dict[Digest, Entry] = {}
        """What is known of each digest; for others to see whether there is anything."""
        self._leaves: OrderedDict[Digest, Entry] = OrderedDict()
        self._num_lessons = 0
        self._resolved: tuple[PromptChain, Known] | None = None
        self._strikes = 0
        self._agreed_in_a_row = 0

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def trusts_growth(self) -> bool:
        """Whether a prompt that was taught whole is believed to stay the same when it grows."""
        return self._strikes < MAX_CONTRADICTIONS

    def resolve(self, prompt: PromptChain, block_size: int) -> Known:
        """What is known of `prompt`: the trusted blocks of the deepest of its prefixes, or more where more is estimated."""
        if not self.entries:
            return UNKNOWN
        if self._resolved is not None and self._resolved[0] is prompt:
            return self._resolved[1]
        known = self._resolve(prompt, block_size)
        self._resolved = (prompt, known)
        return known

    def stops(self, prompt: PromptChain, block_size: int) -> dict[BlockHash, tuple[BlockChain, int]]:
        """Blocks at which a walk along `prompt`'s chain may stop: what lies before them is `chain.blocks[:count]`.

        They lie close together at the prompt's known end and ever wider apart before it: so few are looked up, and a walk that
        misses the first of them goes on for half its length at most.
        """
        found: dict[BlockHash, tuple[BlockChain, int]] = {}
        digests = prompt.digests
        deepest = self._deepest(digests)
        seen: BlockChain | None = None
        distance = 0
        while distance <= deepest:
            entry = self.entries[digests[deepest - distance]]
            chain = entry.chain
            if chain is not seen and chain.blocks:
                found.setdefault(BlockHash(chain.blocks[-1]), (chain, len(chain.blocks)))
                seen = chain
            count = entry.reach(block_size)
            if count:
                found.setdefault(BlockHash(chain.blocks[count - 1]), (chain, count))
            distance += max(1, distance // 2)
        return found

    def teach(
        self,
        prompt: PromptChain,
        *,
        base: BlockChain | None,
        kept: int,
        added: Sequence[BlockHash],
        anchors: Sequence[tuple[int, int]],
        bytes_per_token: float,
        is_counted: bool,
        block_size: int,
    ) -> bool:
        """Learn that `prompt` is `base.blocks[:kept]` and then `added`; returns whether that contradicts what was known.

        Its tokens up to a boundary are exact at `anchors` and estimated elsewhere; where `is_counted`, that is, where the
        engine counted the prompt, the last anchor is its end. Where `added` follows all of `base`, `base` grows in place: one
        session keeps one array. The work is by new segments, those of the turn before, and prefixes that are not at rest.
        """
        self._resolved = None
        num_blocks = kept + len(added)
        chain, kept = self._lengthen(base, kept, added)
        digests = prompt.digests
        last = len(digests) - 1
        num_tokens = anchors[-1][1] if is_counted else None
        deepest_known = self._deepest(digests)
        for boundary in range(deepest_known + 1, last + 1):
            entry = self._add(digests, boundary, chain)
            if boundary < last:
                tokens = tokens_at(prompt.ends, anchors, bytes_per_token, boundary)
                entry.estimated_blocks = min(num_blocks, max(0, tokens // block_size - 1))
            else:
                entry.end_here(num_tokens, num_blocks, num_blocks)
        self._use(digests[last])
        common_with: dict[BlockChain, int] = {chain: min(kept, num_blocks)}
        is_contradiction = has_grown = False
        for boundary in range(deepest_known, -1, -1):
            entry = self.entries[digests[boundary]]
            common = common_with.get(entry.chain)
            if common is None:
                common = common_with[entry.chain] = _common_length(entry.chain.blocks, chain.blocks, num_blocks)
            elif boundary < deepest_known and entry.chain is chain and entry.rests(common, block_size):
                has_grown |= entry.num_tokens is not None
                break  # so do all before it: they took in the same blocks when this one came to rest
            if not is_counted and common == num_blocks:
                continue  # it agrees as far as it goes, and nobody counted how far that should be
            if boundary == last:
                if not is_counted and (entry.num_tokens is not None or entry.shared_blocks is not None):
                    continue  # better is known already
                entry.end_here(num_tokens, num_blocks, common)
            elif entry.num_tokens is not None:
                has_grown = True
                is_contradiction |= not entry.grow(common, entry.num_tokens // block_size)
            elif boundary == deepest_known:
                entry.pair(common)
            elif entry.shared_blocks is not None:
                entry.shared_blocks = min(entry.shared_blocks, common)
            else:
                entry.estimated_blocks = min(entry.estimated_blocks, common)
            self._point(entry, chain)
        self._judge(is_contradiction=is_contradiction, has_grown=has_grown)
        return is_contradiction

    def evict_one(self) -> None:
        """Forget the entry used longest ago, and its chain if nothing else needs it."""
        self._resolved = None
        digest, entry = self._leaves.popitem(last=False)
        del self.entries[digest]
        self.num_bytes -= ENTRY_BYTES
        self._release(entry.chain)
        if entry.parent is None:
            return
        parent = self.entries[entry.parent]
        parent.num_children -= 1
        if not parent.num_children:
            self._leaves[entry.parent] = parent
            if parent.used_at <= entry.used_at:
                # Only longer prompts used it since, and the last of them was the oldest of all.
                parent.used_at = entry.used_at
                self._leaves.move_to_end(entry.parent, last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._resolved = None
        self.entries.clear()
        self._leaves.clear()
        self.num_bytes = 0
        self._strikes = self._agreed_in_a_row = 0

    def _resolve(self, prompt: PromptChain, block_size: int) -> Known:
        digests = prompt.digests
        last = len(digests) - 1
        deepest = self._deepest(digests)
        if deepest < 0:
            return UNKNOWN
        best: Entry | None = None
        num_blocks = taught_blocks = 0
        is_taught = False
        anchors: list[tuple[int, int]] = []
        for boundary in range(deepest, -1, -1):
            entry = self.entries[digests[boundary]]
            if entry.num_tokens is not None and (not anchors or entry.num_tokens < anchors[-1][1]):
                anchors.append((boundary, entry.num_tokens))
            taught = self._taught_blocks(entry, block_size, is_exact_prompt=boundary == last)
            if taught is not None and not is_taught:
                is_taught = True
                taught_blocks = taught
            believed = entry.estimated_blocks if taught is None else taught
            if best is None or believed > num_blocks:
                best, num_blocks = entry, believed
            if is_taught and anchors:
                break  # shorter prefixes know less
        return Known(best.chain if best is not None else None, num_blocks, taught_blocks, is_taught, tuple(reversed(anchors)))

    def _deepest(self, digests: Sequence[Digest]) -> int:
        """The deepest boundary that is known, -1 where none is."""
        low, high = -1, len(digests) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if digests[middle] in self.entries:
                low = middle
            else:
                high = middle - 1
        return low

    def _add(self, digests: Sequence[Digest], boundary: int, chain: BlockChain) -> Entry:
        digest, parent = digests[boundary], digests[boundary - 1] if boundary else None
        entry = self.entries[digest] = self._leaves[digest] = Entry(chain=chain, parent=parent)
        if parent is not None:
            self.entries[parent].num_children += 1
            self._leaves.pop(parent, None)
        self.num_bytes += ENTRY_BYTES
        self._hold(chain)
        return entry

    def _use(self, digest: Digest) -> None:
        self._num_lessons += 1
        self.entries[digest].used_at = self._num_lessons
        if digest in self._leaves:
            self._leaves.move_to_end(digest)

    def _taught_blocks(self, entry: Entry, block_size: int, *, is_exact_prompt: bool) -> int | None:
        if entry.num_tokens is not None and (is_exact_prompt or (entry.shared_blocks is None and self.trusts_growth)):
            return entry.num_tokens // block_size
        return entry.shared_blocks

    def _lengthen(self, base: BlockChain | None, kept: int, added: Sequence[BlockHash]) -> tuple[BlockChain, int]:
        """A chain of `base.blocks[:kept]` and `added`, and how much of it was known; `base` itself wherever it agrees."""
        if base is None:
            base, kept = BlockChain(array("Q")), 0
        known = _common_length(base.blocks[kept : kept + len(added)], added, len(added))
        kept += known
        new = added[known:]
        if kept < len(base.blocks) and new:
            base = BlockChain(base.blocks[:kept])
        base.blocks.extend(new)
        if base.num_entries:
            self.num_bytes += BLOCK_BYTES * len(new)
        return base, kept

    def _point(self, entry: Entry, chain: BlockChain) -> None:
        if entry.chain is not chain:
            old, entry.chain = entry.chain, chain
            self._hold(chain)
            self._release(old)

    def _hold(self, chain: BlockChain) -> None:
        if chain.num_entries == 0:
            self.num_bytes += chain.num_bytes
        chain.num_entries += 1

    def _release(self, chain: BlockChain) -> None:
        chain.num_entries -= 1
        if chain.num_entries == 0:
            self.num_bytes -= chain.num_bytes

    def _judge(self, *, is_contradiction: bool, has_grown: bool) -> None:
        if is_contradiction:
            self._strikes += 1
            self._agreed_in_a_row = 0
        elif has_grown:
            self._agreed_in_a_row += 1
            if self._agreed_in_a_row >= CONFIRMATIONS_TO_FORGIVE:
                self._strikes = 0


def _common_length(left: Sequence[int], right: Sequence[int], limit: int) -> int:
    """Length of the common prefix, `limit` at most; bisects, since equal hashes mean that all before them is equal."""
    low, high = 0, min(len(left), len(right), limit)
    while low < high:
        middle = (low + high + 1) // 2
        if left[middle - 1] == right[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low
