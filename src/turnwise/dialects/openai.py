"""What chat and completions have in common."""

from __future__ import annotations

from turnwise.dialects import arguments, shapes
from turnwise.dialects import prompt as parts
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.openai_tap import GenerationTap
from turnwise.dialects.splice import with_usage
from turnwise.dialects.usage_filter import UsageFilter
from turnwise.errors import TurnwiseError


class OpenAIGeneration:
    """Reading of the arguments that both APIs share, their answers and their errors."""

    def read_common(self, document: Body, *, splice_usage: bool) -> ReadCall:
        """A `ReadCall` without prompt; the body has `include_usage` spliced in where that is wanted and possible."""
        model = arguments.model(document)
        is_stream = arguments.flag(document, "stream") is True
        spliced = with_usage(document) if splice_usage and is_stream else None
        return ReadCall(
            body=document.document if spliced is None else spliced,
            model=model,
            is_stream=is_stream,
            adds_usage=spliced is not None,
            num_choices=max(1, arguments.count(document, "n") or 1),
            max_tokens=arguments.count(document, "max_tokens"),
        )

    def tap(self) -> GenerationTap:
        """A tap for one answer."""
        return GenerationTap()

    def usage_filter(self) -> UsageFilter:
        """The filter for a stream whose body was spliced."""
        return UsageFilter()

    def error(self, fault: TurnwiseError) -> bytes:
        """JSON body of an error answer."""
        return shapes.openai_error(fault)

    def error_event(self, fault: TurnwiseError) -> bytes:
        """Event that tells of a failure within a stream."""
        return shapes.openai_event(fault)


def root_arguments(model: str, document: Body) -> bytes:
    """The root of a prompt of this API."""
    return parts.root(model, document, arguments.ROOT)
