"""Calls whose engine has not told yet where their tokens part from those of the prompt before."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from turnwise.proxy.lint.conversations import Line
from turnwise.proxy.lint.template import Counted
from turnwise.types import Prompt, PromptChain

MAX_AWAITED = 256
"""Calls at once: events race the answer by milliseconds, so several times what a proxy serves in one."""


class Onward(msgspec.Struct, frozen=True):
    """A prompt and the one that it went on from, with what was counted of that."""

    line: Line
    previous: Prompt
    counted: Counted
    prompt: Prompt
    chain: PromptChain
    num_bytes: int
    """Memory of the earlier prompt, which nobody else keeps."""


class Awaited:
    """Prompts by the id of their call, the oldest given up where they take more than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.num_bytes = 0
        self._max_bytes = max_bytes
        self._steps: OrderedDict[str, Onward] = OrderedDict()

    def __len__(self) -> int:
        return len(self._steps)

    def put(self, call_id: str, step: Onward) -> None:
        """Keep a step until its lesson comes."""
        self.pop(call_id)
        self._steps[call_id] = step
        self.num_bytes += step.num_bytes
        while self.num_bytes > self._max_bytes or len(self._steps) > MAX_AWAITED:
            self.pop(next(iter(self._steps)))

    def pop(self, call_id: str) -> Onward | None:
        """Take a step out; None where it is not kept."""
        step = self._steps.pop(call_id, None)
        if step is not None:
            self.num_bytes -= step.num_bytes
        return step
