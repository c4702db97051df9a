"""The APIs that callers speak: bodies to prompts, streams to facts, errors to their shape.

`match` says which API a path belongs to, `DIALECTS` holds what each gives (`Dialect`). What generates is understood: chat,
completions, messages and responses. The others are relayed as they are, to a replica that serves the model they name. All of
it is pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from turnwise.dialects.base import Dialect, ReadCall, StreamFilter, Tap
from turnwise.dialects.chat import ChatDialect
from turnwise.dialects.completions import CompletionsDialect
from turnwise.dialects.messages import MessagesDialect
from turnwise.dialects.relayed import RelayedDialect
from turnwise.dialects.responses import ResponsesDialect
from turnwise.dialects.surface import ROUTES, Route, dialect_for_path, match, wrong_method
from turnwise.types import DialectName

__all__ = [
    "DIALECTS",
    "ROUTES",
    "Dialect",
    "ReadCall",
    "Route",
    "StreamFilter",
    "Tap",
    "dialect_for_path",
    "match",
    "wrong_method",
]

_UNDERSTOOD: tuple[Dialect, ...] = (ChatDialect(), CompletionsDialect(), MessagesDialect(), ResponsesDialect())
_RELAYED: tuple[Dialect, ...] = tuple(
    RelayedDialect(name) for name in (DialectName.COUNT_TOKENS, DialectName.STORED, DialectName.OPENAI)
)
DIALECTS: Mapping[DialectName, Dialect] = {dialect.name: dialect for dialect in (*_UNDERSTOOD, *_RELAYED)}
