"""What chat and completions have in common."""

from __future__ import annotations

from turnwise.dialects import shapes
from turnwise.dialects.openai_tap import GenerationTap
from turnwise.dialects.usage_filter import UsageFilter
from turnwise.errors import TurnwiseError


class OpenAIGeneration:
    """Answers and errors of both APIs."""

    def tap(self, *, wants_answer: bool = False) -> GenerationTap:
        """A tap for one answer; see `Dialect.tap`."""
        return GenerationTap(wants_answer=wants_answer)

    def usage_filter(self) -> UsageFilter:
        """The filter for a stream whose body was spliced."""
        return UsageFilter()

    def error(self, fault: TurnwiseError) -> bytes:
        """JSON body of an error answer."""
        return shapes.openai_error(fault)

    def error_event(self, fault: TurnwiseError) -> bytes:
        """Event that tells of a failure within a stream."""
        return shapes.openai_event(fault)
