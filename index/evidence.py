"""What engines taught of prompts: for a digest, an engine block chain and how far along it that digest reaches."""

from __future__ import annotations

from collections.abc import Sequence

from turnwise.index.answers import Answers
from turnwise.index.breaks import Break
from turnwise.index.entries import BlockChain, Entry
from turnwise.index.entry_tree import EntryTree, common_length
from turnwise.index.estimate import tokens_at
from turnwise.index.growth import Growths
from turnwise.index.known import ALL_BLOCKS, UNKNOWN, Known
from turnwise.index.states import TemplateState, TreeState
from turnwise.index.trust import Trust
from turnwise.index.values import TAUGHT, Lesson
from turnwise.types import Answer, BlockHash, PromptChain


class Evidence:
    """All that was taught within one hash domain, with its memory counted."""

    def __init__(self) -> None:
        self.trust = Trust()
        self._tree = EntryTree()
        self._answers = Answers(self._tree, self.trust)
        self._growths = Growths(self._tree.entries, self.trust, self._answers)
        self.entries = self._tree.entries
        """What is known of each digest; for others to see whether there is anything."""
        self._resolved: tuple[PromptChain, Known] | None = None
        self._reached: tuple[PromptChain, int] | None = None
        """The deepest known boundary of the prompt that was looked at last, until one is learned or forgotten."""

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def num_bytes(self) -> int:
        """Memory that all of it takes."""
        return self._tree.num_bytes

    def resolve(self, prompt: PromptChain, block_size: int) -> Known:
        """What is known of `prompt`: the trusted blocks of the deepest of its prefixes, or more where more is estimated."""
        if not self.entries:
            return UNKNOWN
        if self._resolved is not None and self._resolved[0] is prompt:
            return self._resolved[1]
        known = self._resolve(prompt, block_size)
        self._resolved = (prompt, known)
        return known

    def nearest(self, prompt: PromptChain) -> BlockChain | None:
        """The chain along which the longest known beginning of `prompt` lies; None where none is known."""
        deepest = self._deepest(prompt)
        return None if deepest < 0 else self.entries[prompt.digests[deepest]].chain

    def stops(self, prompt: PromptChain, block_size: int) -> dict[BlockHash, tuple[BlockChain, int]]:
        """Blocks at which a walk along `prompt`'s chain may stop: what lies before them is `chain.blocks[:count]`.

        They lie close together at the prompt's known end and ever wider apart before it: so few are looked up, and a walk that
        misses the first of them goes on for as many segments again at most.
        """
        found: dict[BlockHash, tuple[BlockChain, int]] = {}
        digests = prompt.digests
        deepest = self._deepest(prompt)
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
            distance += distance + 1
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
    ) -> Lesson:
        """Learn that `prompt` is `base.blocks[:kept]` and then `added`; returns what that showed of what was known.

        Its tokens up to a boundary are exact at `anchors` and estimated elsewhere; where `is_counted`, that is, where the
        engine counted the prompt, the last anchor is its end. Where `added` follows all of `base`, `base` grows in place: one
        session keeps one array. The work is by new segments, those of the turn before, and prefixes that are not at rest.
        """
        self._resolved = None
        tree = self._tree
        num_blocks = kept + len(added)
        digests = prompt.digests
        last = len(digests) - 1
        num_tokens = anchors[-1][1] if is_counted else None
        deepest_known = self._deepest(prompt)
        self._reached = None
        grown = self._growths.of(prompt, deepest_known, block_size)
        awaited = None if prompt.answer is None else self._answers.awaited(prompt, deepest_known)
        chain, kept = tree.lengthen(base, kept, added)
        fate = None if awaited is None else self._answers.judge(prompt, awaited, base, kept, chain, num_blocks)
        if grown is not None:
            grown.learn(chain, num_blocks)
        if deepest_known < last:
            *inner, whole = tree.add(digests, deepest_known + 1, chain)
            for boundary, entry in enumerate(inner, deepest_known + 1):
                tokens = tokens_at(prompt.ends, anchors, bytes_per_token, boundary)
                entry.estimated_blocks = min(num_blocks, max(0, tokens // block_size - 1))
            whole.end_here(num_tokens, num_blocks, num_blocks)
            whole.has_reasoning = prompt.answer is not None and prompt.answer.said.reasoning != 0
        tree.use(digests[last])
        chain.taught_at = tree.num_lessons
        parting = self._compare(prompt, deepest_known, chain, min(kept, num_blocks), num_tokens, num_blocks, block_size)
        if parting is None:
            return TAUGHT if fate is None else Lesson(is_taught=True, answer=fate[1], answer_kind=fate[0])
        kind, became = fate or (None, None)
        return Lesson(
            is_taught=True,
            is_contradiction=True,
            broke_at=parting.segment(prompt.ends, bytes_per_token, block_size),
            lost_tokens=parting.lost * block_size,
            answer=became,
            answer_kind=kind,
        )

    def answer(self, prompt: PromptChain, said: Answer, num_tokens: int, start: int, decoded: Sequence[BlockHash]) -> None:
        """See `Answers.remember`."""
        self._resolved = None
        self._answers.remember(prompt, said, num_tokens, start, decoded)

    def doubt(self, prompt: PromptChain, block_size: int) -> None:
        """The engine has shown that it does not render `prompt` as is believed, and no event tells how it does."""
        self._resolved = None
        trusts_growth = self.trust.trusts_growth(prompt.template)
        self.trust.contradicted(prompt.template)
        last = len(prompt.digests) - 1
        for boundary in range(self._deepest(prompt), -1, -1):
            digest = prompt.digests[boundary]
            entry = self.entries[digest]
            was_believed = entry.taught_blocks(block_size, is_exact=boundary == last, trusts_growth=trusts_growth) is not None
            self._tree.forget_answer(digest, entry)
            entry.doubt()
            if was_believed:
                break

    def evict_one(self) -> None:
        """Forget the entry used longest ago, and its chain if nothing else needs it."""
        self._resolved = self._reached = None
        self._tree.evict_one()

    def state(self) -> tuple[TreeState, tuple[TemplateState, ...]]:
        """All of it, to be written down."""
        return self._tree.state(), self.trust.state()

    def restore(self, tree: TreeState, templates: Sequence[TemplateState], block_size: int) -> None:
        """Take in what was written down, where nothing is known; raises as `EntryTree.restore` does."""
        self._tree.restore(tree, block_size)
        self.trust.restore(templates)

    def clear(self) -> None:
        """Forget everything."""
        self._resolved = self._reached = None
        self._tree.clear()
        self.trust.clear()

    def _deepest(self, prompt: PromptChain) -> int:
        """The deepest boundary of `prompt` that is known, -1 where none is."""
        if self._reached is not None and self._reached[0] is prompt:
            return self._reached[1]
        deepest = self._tree.deepest(prompt.digests)
        self._reached = (prompt, deepest)
        return deepest

    def _compare(
        self,
        prompt: PromptChain,
        deepest_known: int,
        chain: BlockChain,
        kept: int,
        num_tokens: int | None,
        num_blocks: int,
        block_size: int,
    ) -> Break | None:
        """Let what was known of the prefixes of `prompt` take in that it is `num_blocks` of `chain`, `kept` of them old.

        Returns what that contradicted.
        """
        digests = prompt.digests
        last = len(digests) - 1
        is_counted = num_tokens is not None
        common_with: dict[BlockChain, int] = {chain: kept}
        parting: Break | None = None
        parted_at = 0
        has_grown = False
        for boundary in range(deepest_known, -1, -1):
            entry = self.entries[digests[boundary]]
            common, whole = common_with.get(entry.chain), entry.num_tokens
            if common is None:
                common = common_with[entry.chain] = common_length(entry.chain.blocks, chain.blocks, num_blocks)
            elif boundary < deepest_known and entry.chain is chain and entry.rests(common, block_size):
                has_grown |= whole is not None
                if parting is not None and whole is not None:
                    parting.take(boundary, whole, agrees=True)
                break  # so do all before it: they took in the same blocks when this one came to rest
            if not is_counted and common == num_blocks:
                continue  # it agrees as far as it goes, and nobody counted how far that should be
            if whole is not None and (is_counted or boundary < last):
                due = min(whole // block_size, num_blocks) if boundary == last else whole // block_size
                if parting is None and common < due:
                    parting, parted_at = Break(common, due - common, []), entry.chain.taught_at
                if parting is not None:
                    parting.take(boundary, whole, agrees=common >= due)
            if boundary == last:
                if not is_counted and (whole is not None or entry.shared_blocks is not None):
                    continue  # better is known already
                entry.end_here(num_tokens, num_blocks, common)
            elif whole is not None:
                has_grown = True
                if entry.grow(common, whole // block_size) and boundary == deepest_known and entry.chain is chain:
                    break  # a turn goes on from the one before: all before that took in these blocks when it was taught
            elif boundary == deepest_known:
                entry.pair(common)
            elif entry.shared_blocks is not None:
                entry.shared_blocks = min(entry.shared_blocks, common)
            else:
                entry.estimated_blocks = min(entry.estimated_blocks, common)
            self._tree.point(digests[boundary], entry, chain)
        if parting is not None:
            if parted_at >= self.trust.changed_at(prompt.template):
                is_at_head = num_tokens is not None and self._growths.is_at_head(
                    prompt, deepest_known, parting.common * block_size, num_tokens
                )
                self.trust.contradicted(prompt.template, at_head=self._tree.num_lessons if is_at_head else 0)
        elif has_grown and deepest_known < last:
            self.trust.agreed(prompt.template)
        return parting

    def _resolve(self, prompt: PromptChain, block_size: int) -> Known:
        digests = prompt.digests
        last = len(digests) - 1
        deepest = self._deepest(prompt)
        if deepest < 0:
            return UNKNOWN
        trusts_growth = self.trust.trusts_growth(prompt.template)
        changed_at = self.trust.changed_at(prompt.template) if trusts_growth else 0
        has_changed = self.entries[digests[deepest]].chain.taught_at < changed_at
        if (
            prompt.answer is not None
            and trusts_growth
            and not has_changed
            and (known := self._answers.believed(prompt, deepest, block_size))
        ):
            return known
        best: Entry | None = None
        num_blocks = taught_blocks = 0
        grown = None
        lost_blocks = 0
        if deepest < last and not trusts_growth:
            grown = self._growths.of(prompt, deepest, block_size)
            lost_blocks = ALL_BLOCKS
            if grown is not None:
                best, num_blocks = self.entries[digests[deepest]], grown.reach
                lost_blocks = max(0, grown.asked - num_blocks)
        is_taught = False
        anchors: list[tuple[int, int]] = []
        for boundary in range(deepest, -1, -1):
            entry = self.entries[digests[boundary]]
            if entry.num_tokens is not None and (not anchors or entry.num_tokens < anchors[-1][1]):
                anchors.append((boundary, entry.num_tokens))
            if entry.chain.taught_at < changed_at:
                lost_blocks = ALL_BLOCKS
                continue
            taught = entry.taught_blocks(block_size, is_exact=boundary == last, trusts_growth=trusts_growth)
            if taught is not None and not is_taught:
                is_taught = True
                taught_blocks = taught
            believed = max(entry.estimated_blocks, entry.shared_blocks or 0) if taught is None else taught
            if best is None or (grown is None and believed > num_blocks):
                best, num_blocks = entry, believed
            if is_taught and anchors:
                break  # shorter prefixes know less
        return Known(
            best.chain if best is not None else None,
            num_blocks,
            min(taught_blocks, num_blocks),
            is_taught,
            tuple(reversed(anchors)),
            is_firm=trusts_growth or deepest == last,
            lost_blocks=lost_blocks,
        )
