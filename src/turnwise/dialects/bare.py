"""The part of a dialect whose prompts have no turns: bare texts, and APIs that are relayed without being understood."""

from __future__ import annotations

from turnwise.turns import NO_TAIL, Tail
from turnwise.types import Prompt


class NoTurns:
    """Nobody can say what of a text is whose words."""

    def tail(self, prompt: Prompt, first: int) -> Tail:  # noqa: ARG002 - the Protocol's signature
        """Nothing is known to be a tool's result or a user's words."""
        return NO_TAIL

    def quotes(self, prompt: Prompt) -> tuple[int, ...]:  # noqa: ARG002 - the Protocol's signature
        """Nothing is known to be said by a user."""
        return ()
