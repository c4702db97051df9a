"""The entries of one body of evidence as a tree, the block chains that they share, and the memory of both."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence

from turnwise.index.entries import ANSWER_BYTES, BLOCK_BYTES, ENTRY_BYTES, Answered, BlockChain, Entry
from turnwise.index.states import EntryState, TreeState
from turnwise.types import BlockHash, Digest


class EntryTree:
    """Who knows a digest knows those of all its prefixes.

    What was used longest ago is forgotten first and, of one prompt, its tail, so only entries on which no longer one hangs need
    an order.
    """

    def __init__(self) -> None:
        self.num_bytes = 0
        self.entries: dict[Digest, Entry] = {}
        self._leaves: OrderedDict[Digest, Entry] = OrderedDict()
        self.num_lessons = 0

    def deepest(self, digests: Sequence[Digest]) -> int:
        """The deepest boundary that is known, -1 where none is."""
        entries = self.entries
        low = high = len(digests) - 1
        step = 1
        # From the end, in ever longer steps: most prompts go on from one that was taught.
        while low >= 0 and digests[low] not in entries:
            high = low - 1
            low -= step
            step += step
        low = max(low, -1)
        while low < high:
            middle = (low + high + 1) // 2
            if digests[middle] in entries:
                low = middle
            else:
                high = middle - 1
        return low

    def add(self, digests: Sequence[Digest], first: int, chain: BlockChain) -> list[Entry]:
        """New entries for the boundaries of a prompt from `first` on, all before which are known."""
        parent = digests[first - 1] if first else None
        if parent is not None:
            self.entries[parent].num_children += 1
            self._leaves.pop(parent, None)
        added: list[Entry] = []
        for digest in digests[first:]:
            entry = self.entries[digest] = Entry(chain=chain, parent=parent, num_children=1)
            added.append(entry)
            parent = digest
        added[-1].num_children = 0
        self._leaves[digests[-1]] = added[-1]
        self.num_bytes += ENTRY_BYTES * len(added)
        self._hold(chain, len(added))
        return added

    def use(self, digest: Digest) -> None:
        """Note that a prompt ended here, now."""
        self.num_lessons += 1
        self.entries[digest].used_at = self.num_lessons
        if digest in self._leaves:
            self._leaves.move_to_end(digest)

    def evict_one(self) -> None:
        """Forget the entry used longest ago, and its chain if nothing else needs it."""
        digest, entry = self._leaves.popitem(last=False)
        self.forget_answer(digest, entry)
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

    def state(self) -> TreeState:
        """All of it, to be written down."""
        chains: dict[BlockChain, int] = {}
        entries: list[EntryState] = []
        inner = ((digest, entry) for digest, entry in self.entries.items() if entry.num_children)
        for digest, entry in (*inner, *self._leaves.items()):
            entries.append(
                EntryState(
                    digest,
                    chains.setdefault(entry.chain, len(chains)),
                    entry.parent,
                    entry.num_tokens,
                    entry.shared_blocks,
                    entry.estimated_blocks,
                    entry.window_pairs,
                    entry.window_blocks,
                    entry.used_at,
                    entry.answered,
                )
            )
        return TreeState(entries, [(chain.blocks.tobytes(), chain.answered) for chain in chains], self.num_lessons)

    def restore(self, state: TreeState, block_size: int) -> None:
        """Take in what was written down, where nothing is known.

        Raises `ValueError`, `IndexError` or `KeyError` where it contradicts itself.
        """
        chains: list[BlockChain] = []
        for blocks, answered in state.chains:
            chain = BlockChain(array("Q", blocks))
            chain.answered = answered
            chains.append(chain)
        for known in state.entries:
            chain = chains[known.chain]
            entry = self.entries[known.digest] = Entry(
                chain=chain,
                parent=known.parent,
                num_tokens=known.num_tokens,
                shared_blocks=known.shared_blocks,
                estimated_blocks=known.estimated_blocks,
                window_pairs=known.window_pairs,
                window_blocks=known.window_blocks,
                used_at=known.used_at,
                answered=known.answered,
            )
            if entry.reach(block_size) > len(chain.blocks):
                raise ValueError("an entry that reaches beyond its chain")
            self.num_bytes += ENTRY_BYTES + (ANSWER_BYTES if known.answered is not None else 0)
            self._hold(chain)
        for entry in self.entries.values():
            if entry.parent is not None:
                self.entries[entry.parent].num_children += 1
        self._leaves.update((digest, entry) for digest, entry in self.entries.items() if not entry.num_children)
        self.num_lessons = state.num_lessons

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()
        self._leaves.clear()
        self.num_bytes = 0

    def lengthen(self, base: BlockChain | None, kept: int, added: Sequence[BlockHash]) -> tuple[BlockChain, int]:
        """A chain of `base.blocks[:kept]` and `added`, and how much of it was known; `base` itself wherever it agrees.

        The blocks of an answer are no prompt's: one that goes on from there takes those that it has in common, and the rest go.
        """
        if base is None:
            base, kept = BlockChain(array("Q")), 0
        known = common_length(base.blocks[kept : kept + len(added)], added, len(added))
        kept += known
        new = added[known:]
        if base.answered is not None and kept >= (start := self._answer_start(base)) and (new or kept > start):
            self._own_answer(base, kept)
        if kept < len(base.blocks) and new:
            base = BlockChain(base.blocks[:kept])
        self._extend(base, new)
        return base, kept

    def point(self, digest: Digest, entry: Entry, chain: BlockChain) -> None:
        """Let an entry speak of `chain` from now on."""
        if entry.chain is not chain:
            self.forget_answer(digest, entry)
            old, entry.chain = entry.chain, chain
            self._hold(chain)
            self._release(old)

    def answer(self, digest: Digest, answered: Answered, decoded: Sequence[BlockHash]) -> None:
        """Remember the answer to a whole prompt, unless other prompts go on along its chain; a former one is forgotten."""
        entry = self.entries[digest]
        self.forget_answer(digest, entry)
        chain = entry.chain
        if len(chain.blocks) == answered.start:
            entry.answered, chain.answered = answered, digest
            self.num_bytes += ANSWER_BYTES
            self._extend(chain, decoded)

    def forget_answer(self, digest: Digest, entry: Entry) -> None:
        """Forget what a prompt was answered, and the blocks decoded for it."""
        if entry.answered is not None and entry.chain.answered == digest:
            self._own_answer(entry.chain, entry.answered.start)

    def _answer_start(self, chain: BlockChain) -> int:
        assert chain.answered is not None
        answered = self.entries[chain.answered].answered
        assert answered is not None
        return answered.start

    def _own_answer(self, chain: BlockChain, num_blocks: int) -> None:
        """The answer at the end of a chain is forgotten; `num_blocks` of the chain stay as any others."""
        assert chain.answered is not None
        self.entries[chain.answered].answered = None
        chain.answered = None
        self.num_bytes -= ANSWER_BYTES + BLOCK_BYTES * (len(chain.blocks) - num_blocks)
        del chain.blocks[num_blocks:]

    def _extend(self, chain: BlockChain, blocks: Sequence[BlockHash]) -> None:
        chain.blocks += array("Q", blocks)  # in half the time that it takes to extend it by a list
        if chain.num_entries:
            self.num_bytes += BLOCK_BYTES * len(blocks)

    def _hold(self, chain: BlockChain, num_entries: int = 1) -> None:
        if chain.num_entries == 0:
            self.num_bytes += chain.num_bytes
        chain.num_entries += num_entries

    def _release(self, chain: BlockChain) -> None:
        chain.num_entries -= 1
        if chain.num_entries == 0:
            self.num_bytes -= chain.num_bytes


def common_length(left: Sequence[int], right: Sequence[int], limit: int) -> int:
    """Length of the common prefix, `limit` at most; bisects, since equal hashes mean that all before them is equal."""
    low, high = 0, min(len(left), len(right), limit)
    while low < high:
        middle = (low + high + 1) // 2
        if left[middle - 1] == right[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low
