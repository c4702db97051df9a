"""The APIs that callers speak: bodies to prompts, streams to facts, errors to their shape.

`match` says which API a path belongs to, `DIALECTS` holds what each gives (`Dialect`). Chat and completions are understood;
the others are relayed as they are, to a replica that serves the model they name. All of it is pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from turnwise.dialects.base import Dialect, ReadCall, StreamFilter, Tap
from turnwise.dialects.chat import ChatDialect
from turnwise.dialects.completions import CompletionsDialect
from turnwise.dialects.relayed import RelayedDialect
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

_UNDERSTOOD: tuple[Dialect, ...] = (ChatDialect(), CompletionsDialect())
_RELAYED: tuple[Dialect, ...] = tuple(
    RelayedDialect(name) for name in (DialectName.MESSAGES, DialectName.RESPONSES, DialectName.OPENAI)
)
DIALECTS: Mapping[DialectName, Dialect] = {dialect.name: dialect for dialect in (*_UNDERSTOOD, *_RELAYED)}
