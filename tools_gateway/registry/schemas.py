"""JSON Schemas of tools: which are taken, and what checks by them; no reference is followed out of a schema, ever."""

from __future__ import annotations

import jsonschema_rs
import msgspec

from turnwise.invisible import made_visible
from turnwise.tools_gateway.registry.schema_cost import TooIntricate, cost
from turnwise.tools_gateway.values import JsonObject

MAX_BYTES = 64 * 1024
"""Of a schema as JSON; the largest of the reference servers (MCP, 2026.8) has 4 KB."""
MAX_DEPTH = 48
PATTERN_BYTES = 16 * 1024
"""Of a compiled pattern. All are matched in linear time, and its states times the length of a text are the work."""
MASK = "the value"
"""Stands for what was checked in what the checker says: a value may be a secret."""

_PATTERNS = jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES)
_ACCEPTING = frozenset(
    ("allOf", "anyOf", "then", "else", "additionalProperties", "items", "prefixItems", "additionalItems", "unevaluatedItems")
)
"""Where a schema that accepts more makes the whole accept more."""
_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))


class Sloppy(ValueError):
    """A definition cannot be taken; the message says why, as the end of "cannot be taken: "."""


class Checker(msgspec.Struct, frozen=True):
    """What checks arguments or results."""

    validator: jsonschema_rs.Validator
    cost: int
    """Most looks at one place: times the number of values, this bounds a check."""
    has_branches: bool
    """Whether saying what is wrong collects all that is wrong below `anyOf` and `oneOf`."""


def check_schema(schema: JsonObject, where: str) -> None:
    """Raise `Sloppy` for a schema that cannot be checked by, or that could keep its checker busy; `where` is the member."""
    try:
        checker(schema)
    except Sloppy as error:
        raise Sloppy(f"its {where} {error}") from None


def checker(schema: JsonObject) -> Checker:
    """What checks by a schema (2020-12 where it names no draft, formats left alone); raises `Sloppy`.

    A pattern that cannot be matched in linear time within `PATTERN_BYTES` is left to the upstream.
    """
    try:
        encoded = msgspec.json.encode(schema)
        if _is_deeper(schema, MAX_DEPTH):
            raise Sloppy(f"is nested deeper than {MAX_DEPTH}")
        if len(encoded) > MAX_BYTES:
            raise Sloppy(f"is larger than {MAX_BYTES} bytes")
        bound = cost(schema)
        try:
            validator = _compiled(schema)
        except jsonschema_rs.ValidationError:
            validator = _compiled(_without_hard_patterns(schema))
        return Checker(validator, bound, has_branches=b'"anyOf"' in encoded or b'"oneOf"' in encoded)
    except TooIntricate as error:
        raise Sloppy(str(error)) from None
    except jsonschema_rs.ValidationError as error:
        raise Sloppy(f"is no JSON Schema: {made_visible(error.message)[:160]}") from None
    except (RecursionError, UnicodeEncodeError, jsonschema_rs.ReferencingError):
        raise Sloppy("is no JSON Schema") from None


def _compiled(schema: JsonObject) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema, validate_formats=False, offline=True, pattern_options=_PATTERNS, mask=MASK)


def _without_hard_patterns(schema: JsonObject) -> JsonObject:
    """The schema without the patterns that have no linear matcher, where it accepts more without them; else as it is."""
    kept: JsonObject = {}
    for key, value in schema.items():
        if key == "pattern" and isinstance(value, str) and not _is_linear(value):
            continue
        if key in _ACCEPTING:
            kept[key] = [_if_schema(item) for item in value] if isinstance(value, list) else _if_schema(value)
        elif key in _NAMED and isinstance(value, dict):
            kept[key] = {name: _if_schema(item) for name, item in value.items()}
        else:
            kept[key] = value
    return kept


def _if_schema(value: object) -> object:
    return _without_hard_patterns(value) if isinstance(value, dict) else value


def _is_linear(pattern: str) -> bool:
    try:
        _compiled({"pattern": pattern})
    except jsonschema_rs.ValidationError:
        return False
    return True


def _is_deeper(value: object, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_is_deeper(child, depth - 1) for child in children)
