"""Answers, from when they were generated until the next turn shows how the template renders them.

A digest covers raw bytes, and how a client will write an answer down is its own affair. So what an answer says is kept beside
the prompt that it answers, with the blocks decoded for it; the turn that says the same is believed to reach through them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from turnwise.index.entries import Answered, BlockChain
from turnwise.index.entry_tree import EntryTree, common_length
from turnwise.index.known import Known
from turnwise.index.trust import Trust
from turnwise.index.values import AnswerFate, AnswerKind
from turnwise.types import Answer, BlockHash, PromptChain


class Awaited(msgspec.Struct, frozen=True, gc=False):
    """An answer whose next turn has come: its blocks are those of `chain` from its start to `end`."""

    answered: Answered
    chain: BlockChain
    end: int


class Answers:
    """The newest answer of each whole prompt in `tree` that no longer prompt has gone on from."""

    def __init__(self, tree: EntryTree, trust: Trust) -> None:
        self._tree = tree
        self._trust = trust

    def remember(self, prompt: PromptChain, said: Answer, num_tokens: int, start: int, decoded: Sequence[BlockHash]) -> None:
        """A prompt that was just taught whole, in `start` blocks, was answered: `decoded` are the blocks that came after them.

        `num_tokens` are those of prompt and answer. Nothing but reasoning is no answer that could be told in a later turn.
        """
        if said.text or said.calls:
            self._tree.answer(prompt.digests[-1], Answered(said, start, num_tokens), decoded)

    def believed(self, prompt: PromptChain, deepest: int, block_size: int) -> Known | None:
        """What is known of a prompt whose last answer follows its boundary `deepest`; None where no such answer is believed."""
        turn = prompt.answer
        if turn is None or turn.first != deepest + 1:
            return None
        entry = self._tree.entries[prompt.digests[deepest]]
        answered, whole = entry.answered, entry.num_tokens
        if answered is None or whole is None or answered.start != whole // block_size:
            return None
        kind = kind_said(answered.said, turn.said)
        if kind is None:
            return None
        trust = self._trust.answers(prompt.template, kind)
        if not trust.is_believed:
            return None
        num_blocks = len(entry.chain.blocks)
        taught_blocks = num_blocks if trust.has_joined else answered.start
        anchors = ((deepest, whole), (turn.last, answered.num_tokens))
        return Known(entry.chain, num_blocks, taught_blocks, is_taught=True, anchors=anchors, answer=kind)

    def awaited(self, prompt: PromptChain, deepest: int) -> Awaited | None:
        """The answer that the last turn of `prompt` should be, if it is remembered; `deepest` is the deepest known boundary."""
        turn = prompt.answer
        if turn is None or not 0 < turn.first <= deepest + 1:
            return None
        entry = self._tree.entries[prompt.digests[turn.first - 1]]
        return None if entry.answered is None else Awaited(entry.answered, entry.chain, len(entry.chain.blocks))

    def judge(
        self, prompt: PromptChain, awaited: Awaited, base: BlockChain | None, kept: int, chain: BlockChain, num_blocks: int
    ) -> tuple[AnswerKind, AnswerFate] | None:
        """What became of an answer, now that its next turn is `num_blocks` of `chain`, of which `kept` were those of `base`.

        None where that does not tell: the prompt parts before the answer, or ends before a block of it is full.
        """
        answered, turn = awaited.answered, prompt.answer
        assert turn is not None, "an answer is awaited by a turn"
        kind = kind_said(answered.said, turn.said)
        if kind is None:
            return own_kind(answered.said), AnswerFate.NOT_SAID
        common = kept if awaited.chain is base else common_length(awaited.chain.blocks, chain.blocks, num_blocks)
        reach = min(awaited.end, num_blocks)
        if not answered.start <= common or reach <= answered.start:
            return None
        has_joined = common >= reach
        self._trust.judge_answer(prompt.template, kind, has_joined=has_joined)
        return kind, AnswerFate.JOINED if has_joined else AnswerFate.BROKEN


def own_kind(answer: Answer) -> AnswerKind:
    """The kind of an answer by itself."""
    if answer.reasoning:
        return AnswerKind.REASONING
    return AnswerKind.CALLS if answer.calls else AnswerKind.PLAIN


def kind_said(answer: Answer, turn: Answer) -> AnswerKind | None:
    """The kind of `answer` as `turn` says it again; None where it says something else.

    Clients may leave the reasoning out, which is a kind of its own; other reasoning than was generated is another answer.
    """
    if (answer.text, answer.calls) != (turn.text, turn.calls):
        return None
    if answer.reasoning == turn.reasoning:
        return own_kind(answer)
    return None if answer.reasoning and turn.reasoning else AnswerKind.REASONING_DROPPED
