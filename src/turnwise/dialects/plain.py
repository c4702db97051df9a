"""The plainest of chat bodies, read in one pass: a model, messages, and perhaps a limit or a temperature."""

from __future__ import annotations

import msgspec

from turnwise.dialects import markers
from turnwise.dialects.prompt import WHOLE_UP_TO_BYTES

_SPELLED = len('{"model":"","messages":[]}') - 1
_LIMIT = len(',"max_tokens":')
_TEMPERATURE = len(',"temperature":')
_SHORTEST_REPEAT = len('"model":1,')


class Plain(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What such a body says."""

    model: str
    messages: list[msgspec.Raw]
    max_tokens: int | None = None
    temperature: msgspec.Raw = msgspec.Raw(b"")


_PLAIN = msgspec.json.Decoder(Plain)


def read(document: bytes) -> Plain | None:
    """Read a body that is plain and without fault; None for any other, which is to be read in full.

    No other member passes the decoder, and none is there twice where the document is hardly longer than the shortest spelling
    of what the decoder kept: a repeated member takes ten bytes or more. No segment of a body of this size is split.
    """
    if len(document) > WHOLE_UP_TO_BYTES or not document.isascii():
        return None
    try:
        plain = _PLAIN.decode(document)
    except (msgspec.MsgspecError, RecursionError):
        return None
    messages = plain.messages
    shortest = _SPELLED + len(plain.model) + sum(map(len, messages)) + len(messages)
    if plain.max_tokens is not None:
        shortest += _LIMIT + len(str(plain.max_tokens))
    if plain.temperature:
        shortest += _TEMPERATURE + len(plain.temperature)
    is_plain = len(document) - shortest < _SHORTEST_REPEAT and plain.model and messages and not markers.find(document)
    return plain if is_plain else None
