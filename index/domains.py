"""Hash domains: replicas that give one prompt the same block hashes share an index and what was taught."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import msgspec

from turnwise.index.counts import Counts
from turnwise.index.entries import BlockChain
from turnwise.index.estimate import BytesPerToken
from turnwise.index.evidence import Evidence
from turnwise.index.known import UNKNOWN, Known
from turnwise.index.mask_index import MaskIndex
from turnwise.index.shortfall import Stored, Untaught, shortfall
from turnwise.index.values import TAUGHT, DomainKey, Lesson, Report
from turnwise.types import BlockHash, PromptChain, ReplicaId

MAX_HEADS = 4096
"""First blocks remembered for the check of agreement; prompts of one fleet begin in far fewer ways."""


class Taught(msgspec.Struct, frozen=True, gc=False):
    """A call that taught its prompt; where not `is_final`, events that come later may still correct it or add its answer."""

    lesson: Lesson
    is_final: bool = True


TAUGHT_FINALLY = Taught(TAUGHT)


class Domain:
    """One index of blocks and one body of evidence, for its members."""

    def __init__(self, key: DomainKey, rate: BytesPerToken, counts: Counts) -> None:
        self.key = key
        self.block_size = key.block_size
        self.rate = rate
        self.index = MaskIndex(counts)
        self.evidence = Evidence()
        self.members: set[ReplicaId] = set()
        self.heads: OrderedDict[int, BlockHash] = OrderedDict()
        """First blocks by the keys of their content."""

    @property
    def is_needed(self) -> bool:
        """Whether it has members, or blocks of former ones to sweep."""
        return bool(self.members) or self.index.has_retired

    def agrees(self, head_key: int, block: BlockHash) -> bool:
        """Whether `block` is the hash under which this domain knows the prompt head of content `head_key`.

        An unknown head is taken as it comes. A sole member cannot disagree: where its hashes have changed, what was taught
        of the old ones is dropped.
        """
        known = self.heads.setdefault(head_key, block)
        if len(self.heads) > MAX_HEADS:
            self.heads.popitem(last=False)
        if known == block:
            return True
        if len(self.members) > 1:
            return False
        self.heads.clear()
        self.heads[head_key] = block
        self.evidence.clear()
        return True

    def resolve(self, prompt: PromptChain) -> Known:
        """What is known of `prompt` here."""
        return self.evidence.resolve(prompt, self.block_size) if self.block_size is not None else UNKNOWN

    def length(self, prompt: PromptChain, known: Known) -> int:
        """Tokens of `prompt`: exact up to the last boundary that was counted, by rate from there."""
        ends = prompt.ends
        if not known.anchors:
            return int(ends[-1] / self.rate.value)
        boundary, tokens = known.anchors[-1]
        return tokens + int((ends[-1] - ends[boundary]) / self.rate.value)

    def learn(
        self, last: BlockHash | None, prompt: PromptChain, report: Report, *, is_last_chance: bool = False
    ) -> Taught | Untaught:
        """Learn a prompt's block chain from the last block that its call stored, None where it stored none.

        The chain is cut at the prompt's full blocks: what follows was decoded, and is its answer's. Without a count it is cut
        at an estimate. `is_last_chance` is whether no more events are waited for.
        """
        block_size = self.block_size
        if block_size is None:
            return Untaught.INCOMPLETE
        known = self.resolve(prompt)
        num_tokens = report.prompt_tokens
        num_blocks = (self.length(prompt, known) if num_tokens is None else num_tokens) // block_size
        base: BlockChain | None = None
        kept = 0
        added: Sequence[BlockHash] = ()
        is_whole = is_final = True
        if last is not None:
            base, kept, added, is_whole = self._chain_to(last, prompt, block_size)
            if is_whole and num_tokens is None:
                num_blocks = min(num_blocks, kept + len(added))
        if (kept + len(added) if is_whole else 0) < num_blocks:
            # Stored by others before: what a shorter form of this prompt taught may reach as far.
            blocks = added if base is None else [*map(BlockHash, base.blocks[:kept]), *added]
            stored = Stored(blocks, is_whole=is_whole, is_stamped=last is not None)
            short = shortfall(known, prompt, report, stored, num_blocks, block_size)
            is_heard = is_last_chance or short.is_over
            if short.is_refuted and is_heard:
                self.evidence.doubt(prompt, block_size)
            if not short.is_covered or (short.awaits_prompt and not is_last_chance):
                return short.why if is_heard else Untaught.INCOMPLETE
            base, kept, added, is_final = known.chain, num_blocks, (), is_heard
        elif not is_whole:
            added = ()  # a prompt shorter than a block, and blocks decoded after it
        decoded: Sequence[BlockHash] = ()
        num_due = 0
        if report.answer is not None:
            num_due = report.num_computed_tokens // block_size
            decoded = _decoded(base, kept, added, num_blocks, num_due)
        anchors = known.anchors
        if num_tokens is not None:
            last_boundary = len(prompt.ends) - 1
            shorter = (anchor for anchor in anchors if anchor[0] < last_boundary and anchor[1] < num_tokens)
            anchors = (*shorter, (last_boundary, num_tokens))
        lesson = self.evidence.teach(
            prompt,
            base=base,
            kept=min(kept, num_blocks),
            added=added[: max(0, num_blocks - kept)],
            anchors=anchors,
            bytes_per_token=self.rate.value,
            is_counted=num_tokens is not None,
            block_size=block_size,
        )
        if report.answer is not None and num_tokens is not None and report.completion_tokens is not None:
            num_answered = num_tokens + report.completion_tokens
            self.evidence.answer(prompt, report.answer, num_answered, num_blocks, decoded)
            is_final = is_final and num_blocks + len(decoded) >= num_due
        return TAUGHT_FINALLY if is_final and lesson is TAUGHT else Taught(lesson, is_final)

    def _chain_to(
        self, last: BlockHash, prompt: PromptChain, block_size: int
    ) -> tuple[BlockChain | None, int, Sequence[BlockHash], bool]:
        """The chain of `prompt` up to a block: a known one, how many blocks of that, those behind, and whether all is known.

        A turn that goes on from the one before hangs on the end of what that taught, and is not walked.
        """
        nearest = self.evidence.nearest(prompt)
        if nearest is not None and nearest.blocks:
            added = self.index.between(BlockHash(nearest.blocks[-1]), last)
            if added is not None:
                return nearest, len(nearest.blocks), added, True
        stops = self.evidence.stops(prompt, block_size)
        walk = self.index.walk(last, stops)
        if not walk.is_whole or walk.stop is None:
            return None, 0, walk.blocks, walk.is_whole
        return *stops[walk.stop], walk.blocks, True


def _decoded(
    base: BlockChain | None, kept: int, added: Sequence[BlockHash], num_blocks: int, num_due: int
) -> Sequence[BlockHash]:
    """Blocks number `num_blocks` to `num_due` of the chain `base.blocks[:kept]` and `added`."""
    if base is None or kept <= num_blocks:
        return added[num_blocks - kept : num_due - kept]
    return [*map(BlockHash, base.blocks[num_blocks : min(kept, num_due)]), *added[: max(0, num_due - kept)]]


class Domains:
    """All domains: one for each complete key, shared by its replicas, and one for each replica that stands alone."""

    def __init__(self, bytes_per_token: float, counts: Counts) -> None:
        self._counts = counts
        self._bytes_per_token = bytes_per_token
        self._shared: dict[DomainKey, Domain] = {}
        self._alone: list[Domain] = []

    def __iter__(self) -> Iterator[Domain]:
        yield from self._shared.values()
        yield from self._alone

    def __len__(self) -> int:
        return len(self._shared) + len(self._alone)

    def join(self, replica: ReplicaId, key: DomainKey) -> Domain:
        """The domain of `key`, with `replica` a member; a new one of its own where `key` is incomplete."""
        if not key.is_complete:
            return self._stand_alone(replica, key)
        domain = self._shared.get(key)
        if domain is None:
            domain = self._shared[key] = Domain(key, self.rate(key.model), self._counts)
        domain.members.add(replica)
        return domain

    def split(self, replica: ReplicaId, domain: Domain) -> Domain:
        """Move `replica`, which does not agree with `domain`, to a domain of its own."""
        self._counts.num_splits += 1
        domain.members.discard(replica)
        return self._stand_alone(replica, domain.key)

    def prune(self) -> None:
        """Forget domains that have no members and nothing left to sweep."""
        self._shared = {key: domain for key, domain in self._shared.items() if domain.is_needed}
        self._alone = [domain for domain in self._alone if domain.is_needed]

    def trim(self, max_bytes: int) -> None:
        """Forget what was used longest ago in whichever domain remembers most, until all evidence fits `max_bytes`."""
        excess = -max_bytes
        for domain in (*self._shared.values(), *self._alone):
            excess += domain.evidence.num_bytes
        while excess > 0:
            evidence = max((domain.evidence for domain in self), key=lambda evidence: evidence.num_bytes)
            before = evidence.num_bytes
            evidence.evict_one()
            excess -= before - evidence.num_bytes

    def is_shared(self, domain: Domain) -> bool:
        """Whether replicas that come later may join `domain`."""
        return self._shared.get(domain.key) is domain

    def rate(self, model: str) -> BytesPerToken:
        """Bytes per token of a model, one for all of its domains."""
        shared = next((domain.rate for domain in self if domain.key.model == model), None)
        return shared if shared is not None else BytesPerToken(self._bytes_per_token)

    def new(self, key: DomainKey, rate: BytesPerToken) -> Domain:
        """A domain that belongs to nobody yet."""
        return Domain(key, rate, self._counts)

    def install(self, domain: Domain, *, is_shared: bool) -> None:
        """Take in a domain whose members are known; for its key there must be none yet, where it is to be shared."""
        if is_shared:
            self._shared[domain.key] = domain
        else:
            self._alone.append(domain)

    def _stand_alone(self, replica: ReplicaId, key: DomainKey) -> Domain:
        domain = Domain(key, self.rate(key.model), self._counts)
        domain.members.add(replica)
        self._alone.append(domain)
        return domain
