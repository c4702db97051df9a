"""A deterministic tokenizer without a vocabulary file: pieces of words, numbers and marks, whose ids are hashes.

It has the properties that a prefix cache depends on: text to ids is a function of the text alone, special tokens cut cleanly
between messages, and generated words fall into the same pieces when a client sends them back. English comes to about four bytes
a token.
"""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Iterable

import xxhash

VOCABULARY = 151_936
NUM_SPECIAL = 16
SPECIAL = ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
END_OF_TURN = "<|im_end|>"

_PIECE = re.compile(
    "|".join(re.escape(mark) for mark in SPECIAL)
    + r"| ?[^\W\d_]{1,6}"  # letters, with the space before them
    + r"| ?\d{1,3}"
    + r"| ?(?:[^\s\w]|_){1,2}"
    + r"|\s+(?!\S)|\s+"  # leaves one space to the word that follows
)
_MEMO_LIMIT = 200_000
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


class _PieceIds(dict[str, int]):
    """Memo from piece to id; starts afresh when full, so that no stream of odd text can grow it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[int, str] = {}
        """The last piece met for each id."""

    def __missing__(self, piece: str) -> int:
        if len(self) >= _MEMO_LIMIT:
            self.clear()
            self.texts.clear()
        if piece in SPECIAL:
            token = SPECIAL.index(piece)
        else:
            digest = xxhash.xxh3_64_intdigest(piece.encode("utf-8", "surrogatepass"))
            token = NUM_SPECIAL + digest % (VOCABULARY - NUM_SPECIAL)
        self[piece] = token
        self.texts[token] = piece
        return token


_ids = _PieceIds()


def pieces(text: str) -> list[str]:
    """Cut a text into pieces; joined again they are the text."""
    return _PIECE.findall(text)


def token_of(piece: str) -> int:
    """Id of one piece."""
    return _ids[piece]


def encode(text: str) -> array[int]:
    """Token ids of a text, as unsigned 32-bit integers."""
    return array("I", map(_ids.__getitem__, pieces(text)))


def encode_to_show(text: str) -> array[int]:
    """Token ids of a text whose pieces are given back by `decode` from now on, also where others have met the same id."""
    found = pieces(text)
    tokens = array("I", map(_ids.__getitem__, found))
    _ids.texts.update(zip(tokens, found, strict=True))
    return tokens


def decode(tokens: Iterable[int]) -> str:
    """Text of token ids, as far as it has been met: ids are hashes, so others are given as U+FFFD."""
    return "".join(_ids.texts.get(token, "\ufffd") for token in tokens)


def pseudo_word(rng: random.Random) -> str:
    """A pronounceable word of two or three syllables, always one piece."""
    return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.choice((2, 2, 3))))


def pseudo_sentence(rng: random.Random, num_words: int) -> str:
    """Words in lower case with single spaces between."""
    return " ".join(pseudo_word(rng) for _ in range(num_words))
