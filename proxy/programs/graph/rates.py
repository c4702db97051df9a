"""How many tokens a byte of a prompt is, by model, until an engine has counted the prompt."""

from __future__ import annotations

from collections import deque

from turnwise.index import BytesPerToken

BYTES_PER_TOKEN = 4.0
"""Of a model that has counted nothing yet: English and JSON have 3.5 to 4.5."""

MAX_MODELS = 256
"""Models whose own rate is learned; clients may name any."""

MAX_NAME_CHARS = 256
"""Longest name of one of these."""


MAX_COUNTED = 64
"""Calls that are learned from when a rate is asked for, the newest: they tell as well as all how many tokens a byte is."""


class Rates:
    """A running rate for each model."""

    def __init__(self) -> None:
        self._by_model: dict[str | None, BytesPerToken] = {}
        self.counted: deque[tuple[str | None, int, int]] = deque(maxlen=MAX_COUNTED)
        """Prompts that engines have counted, put here by whoever hears of it: model, bytes, tokens."""

    def tokens_per_byte(self, model: str | None) -> float:
        """The rate of a model."""
        while self.counted:
            self._learn(*self.counted.popleft())
        known = self._by_model.get(model)
        return 1 / BYTES_PER_TOKEN if known is None else 1 / known.value

    def _learn(self, model: str | None, num_bytes: int, num_tokens: int) -> None:
        known = self._by_model.get(model)
        if known is None:
            if len(self._by_model) >= MAX_MODELS or len(model or "") > MAX_NAME_CHARS:
                return
            known = self._by_model[model] = BytesPerToken(BYTES_PER_TOKEN)
        known.learn(num_bytes, num_tokens)
