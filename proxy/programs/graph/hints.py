"""What clients hint of a call, in the terms of the graph; what is malformed is left out and counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from turnwise import names
from turnwise.proxy.programs.graph.blocks import Retention
from turnwise.proxy.programs.graph.retention import DURABLE_TTL_S, HINTED
from turnwise.proxy.programs.shape import Hinted
from turnwise.turns import NO_HINTS, Hints
from turnwise.types import Prompt, SegmentKind

MAX_KEY_CHARACTERS = 128
"""Longest `prompt_cache_key` that is kept."""

HINT_HEADERS = frozenset((names.HEADER_RETENTION, names.HEADER_PRIORITY))
"""Those that are read."""
_PRIORITY = re.compile(rb"-?[0-9]{1,9}")
_RETENTION = {name.value.encode(): hint for name, hint in HINTED.items()}
_TURNS = frozenset(SegmentKind) - {SegmentKind.TEMPLATE, SegmentKind.TOOLS, SegmentKind.SYSTEM, SegmentKind.OTHER}


class Malformed(StrEnum):
    """Hints that said nothing that could be understood."""

    RETENTION = "retention"
    PRIORITY = "priority"
    BREAKPOINT = "breakpoint"
    CACHE_KEY = "cache_key"


class HintReader:
    """Reads the hints of calls; counts those that it leaves out."""

    def __init__(self) -> None:
        self.malformed = dict.fromkeys(Malformed, 0)

    def read(self, fields: Mapping[bytes, bytes], hints: Hints, prompt: Prompt) -> Hinted | None:
        """What headers and body hint of a call; None for nothing. A header stands above the same hint in the body."""
        if hints is NO_HINTS and HINT_HEADERS.isdisjoint(fields):
            return None
        named_retention, named_priority = fields.get(names.HEADER_RETENTION), fields.get(names.HEADER_PRIORITY)
        retention = 0
        if named_retention is not None:
            retention = _RETENTION.get(named_retention, 0)
            self.malformed[Malformed.RETENTION] += not retention
        priority = hints.priority
        if named_priority is not None:
            if _PRIORITY.fullmatch(named_priority):
                priority = int(named_priority)
            else:
                self.malformed[Malformed.PRIORITY] += 1
        key = hints.cache_key
        if key is not None and not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isprintable()):
            self.malformed[Malformed.CACHE_KEY] += 1
            key = None
        up_to = self._up_to(hints, prompt, has_key=key is not None)
        hinted = Hinted(retention, up_to, priority, hints.output_tokens, hints.speculative_prefill, key)
        return None if hinted == _NOTHING else hinted

    def _up_to(self, hints: Hints, prompt: Prompt, *, has_key: bool) -> tuple[tuple[int, int], ...]:
        up_to = []
        for mark in hints.breakpoints:
            if 0 <= mark.segment < len(prompt.kinds) and mark.ttl_s > 0:
                up_to.append((mark.segment, HINTED[Retention.DURABLE if mark.ttl_s >= DURABLE_TTL_S else Retention.SESSION]))
            else:
                self.malformed[Malformed.BREAKPOINT] += 1
        if has_key:
            head = next((at for at, kind in enumerate(prompt.kinds) if kind in _TURNS), len(prompt.kinds))
            if head:
                up_to.append((head - 1, HINTED[Retention.DURABLE]))
        return tuple(up_to)


_NOTHING = Hinted()
