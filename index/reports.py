"""When a call is told to report all its blocks: where the head of a prompt's chain is known to nobody."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from turnwise.index.values import ReplicaStats
from turnwise.types import CallId, Digest, PromptChain, ReplicaId

MAX_TRIES = 3
"""Reports asked for one beginning of prompts at one replica: what three did not bring, the engine does not report."""

MAX_MARKS = 1024
"""Beginnings remembered for one replica; the one that was missed longest ago goes."""

MAX_BOOKED = 4096
"""Calls remembered that were told to report: events may come long after the answer."""


class _Mark(msgspec.Struct, gc=False):
    num_tries: int = 0
    is_wanted: bool = True


class Reports:
    """Beginnings of prompts of which no block is known though a replica holds them, and the calls that are to report them."""

    def __init__(self) -> None:
        self.marks: dict[ReplicaId, OrderedDict[Digest, _Mark]] = {}
        """The beginnings, by replica; empty where nothing is amiss."""
        self._booked: OrderedDict[str, None] = OrderedDict()

    def book(self, call_id: CallId) -> None:
        """A call was told to report: its events tell blocks that are held already."""
        self._booked[call_id] = None
        if len(self._booked) > MAX_BOOKED:
            self._booked.popitem(last=False)

    def is_booked(self, call_id: str) -> bool:
        """Whether a call was told to report."""
        return call_id in self._booked

    def miss(self, replica: ReplicaId, digest: Digest) -> None:
        """A call could not be taught, for the blocks up to `digest` are known to nobody: the next may be told to report."""
        marks = self.marks.setdefault(replica, OrderedDict())
        mark = marks.setdefault(digest, _Mark())
        marks.move_to_end(digest)
        mark.is_wanted = mark.num_tries < MAX_TRIES
        if len(marks) > MAX_MARKS:
            marks.popitem(last=False)

    def wants(self, replica: ReplicaId, prompt: PromptChain) -> bool:
        """Whether a call with this prompt is to report; it is not asked again until that one was missed too."""
        marks = self.marks.get(replica)
        if not marks or marks.keys().isdisjoint(prompt.digests):
            return False
        wanted = [mark for digest in prompt.digests if (mark := marks.get(digest)) is not None and mark.is_wanted]
        for mark in wanted:
            mark.num_tries += 1
            mark.is_wanted = False
        return bool(wanted)

    def found(self, replica: ReplicaId, prompt: PromptChain) -> None:
        """A call with this prompt was taught: all its beginnings are known."""
        marks = self.marks.get(replica)
        if marks and not marks.keys().isdisjoint(prompt.digests):
            for digest in prompt.digests:
                marks.pop(digest, None)
            if not marks:
                del self.marks[replica]

    def counted(self, stats: Mapping[ReplicaId, ReplicaStats]) -> dict[ReplicaId, ReplicaStats]:
        """The stats of replicas with their `num_headless`."""
        marks = self.marks
        return {name: msgspec.structs.replace(had, num_headless=len(marks.get(name, ()))) for name, had in stats.items()}

    def forget(self, replica: ReplicaId) -> None:
        """The replica has left, or holds nothing any more."""
        self.marks.pop(replica, None)
