"""Settled calls and the events that bear their stamps, in whichever order they come: each call is one lesson in the end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from turnwise.index.counts import Counts
from turnwise.index.domains import Domain, Domains
from turnwise.index.estimate import tokens_at
from turnwise.index.holdings import Holdings
from turnwise.index.lessons import PendingCall, PendingCalls
from turnwise.index.reports import Reports
from turnwise.index.shortfall import Untaught
from turnwise.index.values import PENDING, TAUGHT, UNTAUGHT, Lesson
from turnwise.settings import IndexSettings
from turnwise.types import CallId, Digest, ReplicaId

MAX_LATE = 256
"""Lessons kept that came late: as many calls as may wait for events of one turn of the loop."""

_INCOMPLETE = Untaught.INCOMPLETE


class Teaching:
    """Teaches the domains of `replicas`; counts what came of it, and asks for `reports` where nothing can."""

    def __init__(
        self,
        replicas: Mapping[ReplicaId, Holdings],
        domains: Domains,
        counts: Counts,
        reports: Reports,
        settings: IndexSettings,
    ) -> None:
        self._replicas = replicas
        self._domains = domains
        self._counts = counts
        self._reports = reports
        self._max_evidence_bytes = settings.max_evidence_bytes
        self.late: deque[tuple[CallId, Lesson]] = deque(maxlen=MAX_LATE)
        """Calls that broke their prefix and whose lesson came after their answer, for whoever asks; the oldest are dropped."""
        self._pending = PendingCalls()
        self._late = PendingCalls()
        """Calls that have taught, and whose later events may correct that or bring the rest of their answer."""

    @property
    def num_pending(self) -> int:
        """Calls whose lesson waits for events."""
        return len(self._pending)

    def settle(self, call_id: str, call: PendingCall, *, is_last_chance: bool = False) -> Lesson:
        """Teach an answered call, or let it wait for its events, unless this is its last chance."""
        holdings = self._replicas.get(call.replica)
        if holdings is None or not holdings.can_teach:
            self._pending.pop(call_id)
            if holdings is not None:
                holdings.stamps.forget(call_id)
            self._counts.num_untaught += 1
            return UNTAUGHT
        last = holdings.stamps.last_block(call_id)
        learned = holdings.domain.learn(last, call.prompt, call.report, is_last_chance=is_last_chance)
        if learned is _INCOMPLETE and not is_last_chance:
            overflow = self._pending.put(call_id, call)
            if overflow is not None:
                self.settle(*overflow, is_last_chance=True)
            return PENDING
        self._pending.pop(call_id)
        holdings.stamps.forget(call_id)
        if isinstance(learned, Untaught):
            self._counts.num_untaught += 1
            self._counts.num_missing_heads += learned is Untaught.HEADLESS
            if learned is not _INCOMPLETE:
                self._reports.miss(call.replica, _unknown_head(holdings.domain, call))
            return UNTAUGHT
        lesson = learned.lesson
        if not learned.is_final:
            self._late.put(call_id, call)
        if not lesson.is_contradiction:
            self._counts.num_taught += 1
        if self._reports.marks:
            self._reports.found(call.replica, call.prompt)
        self._domains.trim(self._max_evidence_bytes)
        if lesson is not TAUGHT:
            self._note(lesson)
        return lesson

    def hear(self, call_id: str, replica: ReplicaId) -> None:
        """Events of a call have come: finish its lesson if that has waited for them."""
        call = self._pending.get(call_id, replica)
        if call is not None:
            self._tell(call_id, self.settle(call_id, call))
            return
        call = self._late.get(call_id, replica)
        if call is not None:
            self._correct(call_id, call)

    def forget(self, call_id: str) -> None:
        """A call failed."""
        self._pending.pop(call_id)

    def sweep(self, now: float, max_calls: int) -> int:
        """Give up calls that have waited too long; returns how many of `max_calls` are not spent."""
        while max_calls > 0 and (expired := self._pending.pop_expired(now)) is not None:
            self._tell(expired[0], self.settle(*expired, is_last_chance=True))
            max_calls -= 1
        while max_calls > 0 and (expired := self._late.pop_expired(now)) is not None:
            max_calls -= 1
        return max_calls

    def _tell(self, call_id: str, lesson: Lesson) -> None:
        """Keep a lesson of which nobody was told when its call was settled."""
        if lesson.broke_at is not None:
            self.late.append((CallId(call_id), lesson))

    def _correct(self, call_id: str, call: PendingCall) -> None:
        """Teach a call anew, now that more of its events have come."""
        holdings = self._replicas.get(call.replica)
        if holdings is None or not holdings.can_teach:
            return
        learned = holdings.domain.learn(holdings.stamps.last_block(call_id), call.prompt, call.report)
        if isinstance(learned, Untaught):
            return
        if learned.is_final:
            self._late.pop(call_id)
            holdings.stamps.forget(call_id)
        self._domains.trim(self._max_evidence_bytes)
        self._note(learned.lesson)

    def _note(self, lesson: Lesson) -> None:
        """Count what a call showed besides its own chain."""
        if lesson.is_contradiction:
            self._counts.num_contradicted += 1
        if lesson.answer is not None and lesson.answer_kind is not None:
            self._counts.answers.setdefault(lesson.answer_kind, Counter())[lesson.answer] += 1


def _unknown_head(domain: Domain, call: PendingCall) -> Digest:
    """The longest beginning of a call's prompt that its engine found cached: the blocks that nobody knows are of that.

    All of the prompt where the engine did not say how much it found, or less than the first segment.
    """
    prompt, cached = call.prompt, call.report.cached_tokens
    ends, last = prompt.ends, len(prompt.ends) - 1
    if cached is None:
        return prompt.digests[last]
    anchors = domain.resolve(prompt).anchors
    if call.report.prompt_tokens is not None:
        anchors = ((last, call.report.prompt_tokens),)
    low, high = -1, last
    while low < high:
        middle = (low + high + 1) // 2
        if tokens_at(ends, anchors, domain.rate.value, middle) <= cached + (domain.block_size or 1):
            low = middle
        else:
            high = middle - 1
    return prompt.digests[low if low >= 0 else last]
