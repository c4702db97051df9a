"""Which templates are believed to render as they did before: prompts when they grow, and answers as they were generated."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from turnwise.index.states import TemplateState
from turnwise.index.values import AnswerKind
from turnwise.types import Digest

MAX_CONTRADICTIONS = 3
"""Prompts that broke what was taught of them, before growth is no longer trusted: a template that drops old reasoning does it
on every turn, so three are enough to know it and few enough to cost little."""

CONFIRMATIONS_TO_FORGIVE = 64
"""Grown prompts in a row that agreed, after which the contradictions were accidents (a date that changed at midnight)."""

JOINED_PER_BREAK = 8
"""Answers that must join to make good for one that broke. Text that was generated is now and then tokenized otherwise when it
comes back, which says nothing of the template; a kind that breaks more often than this is not worth believing."""

MAX_BALANCE = 8 * JOINED_PER_BREAK
"""How much an answer that joined can count at most, so that a template that has changed is found out after a few."""

MAX_TEMPLATES = 1024
"""Templates remembered of one domain, each with its model and salt; the one that was judged longest ago is believed anew."""


class AnswerTrust(msgspec.Struct):
    """How answers of one kind fared under one template."""

    balance: int = 0
    has_joined: bool = False

    @property
    def is_believed(self) -> bool:
        """Whether the next one is believed to be rendered as it was generated."""
        return self.balance >= 0


UNTRIED = AnswerTrust()
"""Answers are believed until one breaks."""


class GrowthShape(msgspec.Struct, frozen=True, gc=False):
    """What tells beforehand how much of a prompt will serve one that goes on from it."""

    is_whole: bool
    """It goes on right where a whole one ended."""
    has_calls: bool
    """The answer in between has tool calls: what follows them is no turn of the user's."""
    has_reasoning: bool
    """The last answer within the shorter one carries reasoning, which templates drop from old turns."""
    has_changed: bool
    """All prompts have changed since at their head."""


class Growth(msgspec.Struct):
    """How growths of one shape fared under one template; counts are of blocks."""

    errors: list[float] = msgspec.field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Of each reading, a decayed sum of how far off it was."""
    losses: list[int] = []
    """How much of the shorter prompt did not serve the longer one, where not all did."""


class _Template(msgspec.Struct):
    strikes: int = 0
    agreed_in_a_row: int = 0
    answers: dict[AnswerKind, AnswerTrust] = {}
    growths: dict[GrowthShape, Growth] = {}
    changed_at: int = 0


class Trust:
    """How far each template of one hash domain is trusted; one of which nothing is remembered is trusted."""

    def __init__(self) -> None:
        self._templates: OrderedDict[Digest, _Template] = OrderedDict()

    @property
    def num_whole_only(self) -> int:
        """Templates of whose prompts only those that come again whole are believed."""
        return sum(known.strikes >= MAX_CONTRADICTIONS for known in self._templates.values())

    def trusts_growth(self, template: Digest) -> bool:
        """Whether a prompt that was taught whole is believed to stay the same when it grows."""
        known = self._templates.get(template)
        return known is None or known.strikes < MAX_CONTRADICTIONS

    def answers(self, template: Digest, kind: AnswerKind) -> AnswerTrust:
        """How answers of one kind fared; not to be changed."""
        known = self._templates.get(template)
        return UNTRIED if known is None else known.answers.get(kind, UNTRIED)

    def growth(self, template: Digest, shape: GrowthShape) -> Growth | None:
        """How prompts under a template that has contradicted itself fared when they grew; None under any other."""
        known = self._templates.get(template)
        return None if known is None or not known.strikes else known.growths.setdefault(shape, Growth())

    def changed_at(self, template: Digest) -> int:
        """The lesson that showed that all prompts had changed at their head, as where a day is told; 0 where none did."""
        known = self._templates.get(template)
        return 0 if known is None else known.changed_at

    def contradicted(self, template: Digest, *, at_head: int = 0) -> None:
        """A prompt was rendered otherwise than before; `at_head` is by which lesson, where that holds for all of them."""
        known = self._judged(template)
        known.changed_at = at_head or known.changed_at
        known.strikes += 1
        known.agreed_in_a_row = 0

    def agreed(self, template: Digest) -> None:
        """A prompt that grew was rendered as its shorter form."""
        known = self._templates.get(template)
        if known is not None and known.strikes:
            known.agreed_in_a_row += 1
            if known.agreed_in_a_row >= CONFIRMATIONS_TO_FORGIVE:
                known.strikes = 0

    def judge_answer(self, template: Digest, kind: AnswerKind, *, has_joined: bool) -> None:
        """An answer was rendered as it was generated, or otherwise."""
        trust = self._judged(template).answers.setdefault(kind, AnswerTrust())
        trust.has_joined |= has_joined
        trust.balance = min(MAX_BALANCE, trust.balance + (1 if has_joined else -JOINED_PER_BREAK))
        trust.balance = max(-JOINED_PER_BREAK, trust.balance)

    def state(self) -> tuple[TemplateState, ...]:
        """All of it, to be written down, in the order in which they were judged."""
        return tuple(
            TemplateState(
                template,
                known.strikes,
                known.agreed_in_a_row,
                {kind: (trust.balance, trust.has_joined) for kind, trust in known.answers.items()},
            )
            for template, known in self._templates.items()
        )

    def restore(self, templates: Sequence[TemplateState]) -> None:
        """Take in what was written down, where nothing is known."""
        for known in templates:
            answers = {kind: AnswerTrust(*trust) for kind, trust in known.answers.items()}
            self._templates[known.template] = _Template(known.strikes, known.agreed_in_a_row, answers)

    def clear(self) -> None:
        """Trust all of them."""
        self._templates.clear()

    def _judged(self, template: Digest) -> _Template:
        known = self._templates.get(template)
        if known is None:
            known = self._templates[template] = _Template()
            if len(self._templates) > MAX_TEMPLATES:
                self._templates.popitem(last=False)
        self._templates.move_to_end(template)
        return known
