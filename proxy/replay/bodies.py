"""Request bodies of a trace's calls: one message for each block, so that the proxy sees the prefixes that the trace has."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import xxhash

from turnwise.engines.sim.fifo import block_content
from turnwise.proxy.replay.trace import TraceCall

SHORT_BYTES_PER_TOKEN = 0.125
"""Size of the messages that stand for blocks in memory, on average: text at its full length would only be carried about."""

_HEAD = '{"model":"%s","stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"max_tokens":%d,'
_WORDS = tuple(f" {a}{b}{c}" for a, b, c in product("bdfgklmnprstvz", "aeiou", "bdfgklmnprstvz"))
"""Pseudo-words of four bytes with the space before them: each is one token to the embedded engine, and about one to others."""


def short_body(call: TraceCall, model: str, block_size: int) -> bytes:
    """A body whose messages name their block, for engines that read them so.

    Bytes per token differ between blocks, as in text.
    """
    contents = [
        block_content(block, tokens, int(tokens * SHORT_BYTES_PER_TOKEN * _spread(block)))
        for block, tokens in _sizes(call, block_size)
    ]
    return _body(call, model, contents)


def text_body(call: TraceCall, model: str, block_size: int) -> bytes:
    """A body with the trace's own text, or pseudo-words that are the same wherever the block is."""
    if call.body is not None:
        return _head(call, model).encode() + call.body + b"}"
    return _body(call, model, [pseudo_text(block, tokens) for block, tokens in _sizes(call, block_size)])


@lru_cache(maxsize=65_536)
def pseudo_text(block: int, num_tokens: int) -> str:
    """Words that stand for a block; four bytes a token."""
    words: list[str] = []
    seed = block.to_bytes(8, "little")
    while len(words) < num_tokens:
        seed = xxhash.xxh3_128_digest(seed)
        words += [_WORDS[int.from_bytes(seed[at : at + 2], "little") % len(_WORDS)] for at in range(0, 16, 2)]
    return "".join(words[:num_tokens])


def _body(call: TraceCall, model: str, contents: list[str]) -> bytes:
    """A chat body of user messages; `contents` need no escaping."""
    messages = '"},{"role":"user","content":"'.join(contents)
    return f'{_head(call, model)}"messages":[{{"role":"user","content":"{messages}"}}]}}'.encode()


def _head(call: TraceCall, model: str) -> str:
    return _HEAD % (model, max(1, call.output_tokens))


def _sizes(call: TraceCall, block_size: int) -> list[tuple[int, int]]:
    """Blocks with their tokens; what follows the last full block is the call's own and never shared."""
    sizes = [(block, block_size) for block in call.blocks]
    rest = call.prompt_tokens - len(call.blocks) * block_size
    if rest > 0 or not sizes:
        own = hash_of((call.blocks[-1] if call.blocks else 0, call.prompt_tokens, round(call.at_s * 1000)))
        sizes.append((own, max(1, rest)))
    return sizes


def hash_of(numbers: tuple[int, ...]) -> int:
    """A 59-bit id of some numbers."""
    return xxhash.xxh3_64_intdigest(repr(numbers).encode()) >> 5


def _spread(block: int) -> float:
    """Bytes per token of one block over the average: 0.8 to 1.2."""
    return 0.8 + (block * 0x9E3779B97F4A7C15 >> 32 & 0xFFFF) / 0xFFFF * 0.4
