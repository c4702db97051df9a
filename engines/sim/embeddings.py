"""Embeddings: small vectors that depend on the tokens alone, so that a client's round trip can be tested."""

from __future__ import annotations

import base64
import math
import random
import struct
from array import array
from typing import Annotated, Literal

import msgspec
import xxhash
from msgspec import Meta

from turnwise.engines.sim.answers import Json
from turnwise.engines.sim.bodies import SimFault, TokenId
from turnwise.engines.sim.tokens import encode

DIMENSIONS = 32


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/embeddings`."""

    input: str | tuple[str | TokenId | tuple[TokenId, ...], ...]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=DIMENSIONS)] | None = None


def embed(body: EmbeddingBody, model: str, created: int) -> Json:
    """The whole answer; raises `SimFault` 400 where nothing is to be embedded."""
    prompts = _prompts(body)
    vectors = [_vector(prompt, body.dimensions or DIMENSIONS) for prompt in prompts]
    is_packed = body.encoding_format == "base64"
    num_tokens = sum(map(len, prompts))
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens, "completion_tokens": 0, "prompt_tokens_details": None}
    return {
        "id": f"embd-{xxhash.xxh3_64_hexdigest(b''.join(prompt.tobytes() for prompt in prompts))}",
        "object": "list",
        "created": created,
        "model": model,
        "data": [
            {"index": index, "object": "embedding", "embedding": _packed(vector) if is_packed else vector}
            for index, vector in enumerate(vectors)
        ],
        "usage": usage,
    }


def _prompts(body: EmbeddingBody) -> list[array[int]]:
    if isinstance(body.input, str):
        prompts = [encode(body.input)]
    elif all(isinstance(part, int) for part in body.input):
        prompts = [array("I", [part for part in body.input if isinstance(part, int)])]
    else:
        prompts = [
            encode(part) if isinstance(part, str) else array("I", (part,) if isinstance(part, int) else part)
            for part in body.input
        ]
    if not prompts or not all(prompts):
        raise SimFault(400, "the input must not be empty", param="input")
    return prompts


def _vector(prompt: array[int], dimensions: int) -> list[float]:
    rng = random.Random(xxhash.xxh3_64_intdigest(prompt.tobytes()))  # noqa: S311 - reproducible on purpose
    values = [rng.gauss(0.0, 1.0) for _ in range(DIMENSIONS)][:dimensions]
    length = math.hypot(*values)
    return [value / length for value in values]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
