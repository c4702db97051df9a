"""What is counted of programs."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from turnwise.proxy.programs.graph import Malformed
from turnwise.proxy.programs.identity import Ignored
from turnwise.proxy.programs.values import Basis, Outcome


class Stats(msgspec.Struct, frozen=True, gc=False):
    """Counts since the start: what was made of calls."""

    live: int
    """Programs at this moment."""
    calls: Mapping[Basis, int]
    """By what told which program each belongs to."""
    ended: Mapping[Outcome, int]
    """Programs, by how."""
    ignored: Mapping[Ignored, int]
    """Claims of clients, by why they were left out."""
    malformed_hints: Mapping[Malformed, int]
    """Hints of clients that were left out."""
