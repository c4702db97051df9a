"""`/v1/completions`: bare text or token ids to a prompt."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from turnwise.dialects import arguments, hints
from turnwise.dialects.bare import NoTurns
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.openai import OpenAIGeneration
from turnwise.dialects.prompt import TEXT_CHUNK_BYTES, Arguments, Parts, chunks, chunks_at_commas
from turnwise.dialects.splice import asks_report, usage_splice
from turnwise.types import DialectName, Headers, Prompt, Segment, SegmentKind

MAX_PROMPTS = 50_000
"""Each prompt costs about half a microsecond: without a bound, 32 MiB of empty ones would hold the loop for seconds."""

TEMPLATE_ARGUMENTS = Arguments("add_special_tokens", "suffix", "truncate_prompt_tokens", "truncation_side")
"""What changes the tokens that an engine makes of the text."""

LEAVES_ALONE = frozenset(("response_format",))
"""It only guides decoding here: a bare prompt has no template that could render it."""

HASHED = frozenset(("model", *arguments.ROOT.names, *TEMPLATE_ARGUMENTS.names, "prompt"))
"""Members that are part of the prompt's digests; `prompt_embeds` is not, and counts as unhashed."""

_KNOWN = HASHED | LEAVES_ALONE | arguments.NOT_RENDERED

_FIRST_BYTES_OF_A_PROMPT = b'"['
_EXPECTED = "a string, a list of token ids, or a non-empty list of one of these"
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class CompletionsDialect(NoTurns, OpenAIGeneration):
    """Completions over a bare prompt."""

    name = DialectName.COMPLETIONS

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read a completion request; raises `ClientFault` naming the field that is wrong.

        Of several prompts the first decides about placement. The others follow as one segment, so that what an engine teaches
        of such a call is never taken for knowledge of its first prompt alone.
        """
        document = Body(body)
        model = arguments.model(document)
        is_stream = arguments.flag(document, "stream") is True
        splice = usage_splice(document) if splice_usage and is_stream else None
        num_choices = arguments.num_choices(document)
        max_tokens = arguments.count(document, "max_tokens")
        prompts = _prompts(document)
        return ReadCall(
            body if splice is None else splice.into(body),
            model,
            _prompt(model, document, prompts) if prompts else None,
            is_stream=is_stream,
            adds_usage=splice is not None,
            num_choices=num_choices * max(1, len(prompts)),
            max_tokens=max_tokens,
            unhashed_bytes=arguments.unhashed_bytes(document, _KNOWN),
            asks_report=asks_report(document),
            hints=hints.of_frame(document),
        )


def _prompt(model: str, document: Body, prompts: list[bytes]) -> Prompt:
    parts = Parts()
    template = TEMPLATE_ARGUMENTS.template(document)
    if template:
        parts.add(SegmentKind.TEMPLATE, template)
    parts.extend(_segments(prompts[0]))
    rest = b",".join(prompts[1:])
    if rest:
        parts.extend((Segment(SegmentKind.OTHER, rest),))
    return parts.prompt(arguments.ROOT.root(model, document))


def _prompts(document: Body) -> list[bytes]:
    """The prompts of a call, raw: a string or a flat list of ids is one. None is where embeddings stand in for it."""
    given = document.raw("prompt")
    if given is None:
        if document.raw("prompt_embeds") is not None:
            return []
        raise document.fault("prompt", "is missing")
    raw = bytes(given)
    if raw[:1] == b'"':
        return [raw]
    if raw[:1] != b"[":
        raise document.fault("prompt", f"must be {_EXPECTED}")
    first = raw[1:].lstrip(b" \t\n\r")[:1]
    if first == b"]":
        raise document.fault("prompt", "must not be empty")
    if first not in _FIRST_BYTES_OF_A_PROMPT:
        return [raw]
    prompts = _LIST.decode(raw)
    if len(prompts) > MAX_PROMPTS:
        raise document.fault("prompt", f"must not hold more than {MAX_PROMPTS} prompts")
    return [bytes(item) for item in prompts]


def _segments(raw: bytes) -> Iterator[Segment]:
    """Pieces of one prompt.

    Its closing quote or bracket is part of the last, so a prompt that merely starts with this one never has the digest of the
    whole.
    """
    if raw[:1] == b"[":
        return chunks_at_commas(SegmentKind.TOKENS, raw, TEXT_CHUNK_BYTES)
    return chunks(SegmentKind.TEXT, raw, TEXT_CHUNK_BYTES)
