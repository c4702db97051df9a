"""Which tools requests offer, remembered: an agent sends the same list with every call."""

from __future__ import annotations

from collections import OrderedDict

from turnwise.dialects.calling_offers import num_before_turns, offered
from turnwise.types import Digest, Prompt, PromptChain

MAX_OFFERS = 256
"""Lists remembered, those used last. One of a hundred names takes 15 KB."""


class Offers:
    """The names of offered tools by the digest of all that a prompt says up to the end of its tools, `tool_choice` included."""

    def __init__(self, max_offers: int = MAX_OFFERS) -> None:
        self._max = max_offers
        self._known: OrderedDict[Digest, frozenset[str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, prompt: Prompt, chain: PromptChain) -> frozenset[str] | None:
        """The names that the model may call; None where the prompt offers no tools at all."""
        num = num_before_turns(prompt)
        if not num:
            return None
        digest = chain.digests[num - 1]
        names = self._known.get(digest)
        if names is not None:
            self._known.move_to_end(digest)
            return names
        names = self._known[digest] = offered(prompt, num)
        if len(self._known) > self._max:
            self._known.popitem(last=False)
        return names
