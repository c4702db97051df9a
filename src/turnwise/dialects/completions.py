"""`/v1/completions`: bare text or token ids to a prompt."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from turnwise.dialects import arguments
from turnwise.dialects import prompt as parts
from turnwise.dialects.base import ReadCall
from turnwise.dialects.body import Body
from turnwise.dialects.openai import OpenAIGeneration, root_arguments
from turnwise.types import DialectName, Headers, Prompt, Segment, SegmentKind

MAX_PROMPTS = 50_000
"""Each prompt costs about half a microsecond: without a bound, 32 MiB of empty ones would hold the loop for seconds."""

TEMPLATE_ARGUMENTS = ("add_special_tokens", "suffix", "truncate_prompt_tokens", "truncation_side")
"""What changes the tokens that an engine makes of the text."""

LEAVES_ALONE = frozenset(("response_format",))
"""It only guides decoding here: a bare prompt has no template that could render it."""

HASHED = frozenset(("model", *arguments.ROOT, *TEMPLATE_ARGUMENTS, "prompt"))
"""Members that are part of the prompt's digests; `prompt_embeds` is not, and counts as unhashed."""

_KNOWN = HASHED | LEAVES_ALONE

_FIRST_BYTES_OF_A_PROMPT = b'"['
_EXPECTED = "a string, a list of token ids, or a non-empty list of one of these"
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class CompletionsDialect(OpenAIGeneration):
    """Completions over a bare prompt."""

    name = DialectName.COMPLETIONS

    def read(self, body: bytes, headers: Headers, *, splice_usage: bool) -> ReadCall:  # noqa: ARG002 - the Protocol's signature
        """Read a completion request; raises `ClientFault` naming the field that is wrong.

        Of several prompts the first decides about placement. The others follow as one segment, so that what an engine teaches
        of such a call is never taken for knowledge of its first prompt alone.
        """
        document = Body(body)
        call = msgspec.structs.replace(
            self.read_common(document, splice_usage=splice_usage),
            unhashed_bytes=arguments.unhashed_bytes(document, _KNOWN),
        )
        raw = document.raw("prompt")
        if raw is None:
            if document.raw("prompt_embeds") is not None:
                return call
            raise document.fault("prompt", "is missing")
        prompts = _prompts(document, bytes(raw))
        segments = (
            *parts.template(document, TEMPLATE_ARGUMENTS),
            *_segments(prompts[0]),
            *(Segment(SegmentKind.OTHER, rest) for rest in (b",".join(prompts[1:]),) if rest),
        )
        return msgspec.structs.replace(
            call,
            prompt=Prompt(root=root_arguments(call.model or "", document), segments=segments),
            num_choices=call.num_choices * len(prompts),
        )


def _prompts(document: Body, raw: bytes) -> list[bytes]:
    """The prompts of a call, raw: a string or a flat list of ids is one."""
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
        return parts.chunks_at_commas(SegmentKind.TOKENS, raw, parts.TEXT_CHUNK_BYTES)
    return parts.chunks(SegmentKind.TEXT, raw, parts.TEXT_CHUNK_BYTES)
