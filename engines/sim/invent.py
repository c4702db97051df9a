"""Values that fit a JSON schema, for the arguments of tool calls.

Covered is what tools are described with: references within the schema, unions, enumerations, objects, arrays, bounds, lengths
and common formats. A `pattern` is not followed.
"""

from __future__ import annotations

import random
from typing import Any

from turnwise.engines.sim.tokens import pseudo_sentence

Schema = dict[str, Any]

MAX_DEPTH = 12
"""A schema may refer to itself; below this depth only empty values are made."""

_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1M",
    "email": "someone@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def invent(rng: random.Random, schema: Schema) -> Any:
    """A value of `schema`: its default where it has one, required members only where some are required, else all."""
    return _Inventor(rng, schema).value(schema, 0)


class _Inventor:
    def __init__(self, rng: random.Random, root: Schema) -> None:
        self._rng = rng
        self._root = root

    def value(self, schema: Schema, depth: int) -> Any:
        schema = self._plain(schema)
        if "const" in schema:
            return schema["const"]
        if options := schema.get("enum"):
            return self._rng.choice(options)
        if schema.get("default") is not None:
            return schema["default"]
        match _kind(schema):
            case "object":
                return self._members(schema, depth)
            case "array":
                return self._items(schema, depth)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
            case _:
                return self._text(schema)

    def _plain(self, schema: Schema) -> Schema:
        """The schema with references, unions and intersections resolved to one choice."""
        for _ in range(MAX_DEPTH):
            if isinstance(reference := schema.get("$ref"), str):
                schema = {**self._referred(reference), **_without(schema, "$ref")}
            elif parts := schema.get("allOf"):
                schema = _merged([_without(schema, "allOf"), *(self._plain(part) for part in parts)])
            elif union := schema.get("anyOf") or schema.get("oneOf"):
                chosen = next((part for part in union if part.get("type") != "null"), union[0])
                schema = {**_without(schema, "anyOf", "oneOf"), **chosen}
            else:
                break
        return schema

    def _referred(self, reference: str) -> Schema:
        found: Any = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(name, {}) if name and isinstance(found, dict) else found
        return found if isinstance(found, dict) else {}

    def _members(self, schema: Schema, depth: int) -> dict[str, Any]:
        members = {name: part for name, part in schema.get("properties", {}).items() if isinstance(part, dict)}
        names = schema.get("required") or ([] if depth >= MAX_DEPTH else members)
        return {name: self.value(members.get(name, {}), depth + 1) for name in names} if depth < 2 * MAX_DEPTH else {}

    def _items(self, schema: Schema, depth: int) -> list[Any]:
        if prefix := schema.get("prefixItems"):
            return [self.value(part, depth + 1) for part in prefix]
        most = 0 if depth >= MAX_DEPTH else schema.get("maxItems", 1)
        count = max(schema.get("minItems", 0), min(1, most))
        items = schema.get("items")
        return [self.value(items if isinstance(items, dict) else {"type": "string"}, depth + 1) for _ in range(count)]

    def _integer(self, schema: Schema) -> int:
        least, most = schema.get("minimum"), schema.get("maximum")
        if "exclusiveMinimum" in schema:
            least = schema["exclusiveMinimum"] + 1
        if "exclusiveMaximum" in schema:
            most = schema["exclusiveMaximum"] - 1
        if least is None:
            least = 1 if most is None else min(1, most)
        step = int(schema.get("multipleOf", 1)) or 1
        first, last = -(-int(least) // step), int(least + 99 if most is None else most) // step
        return self._rng.randint(first, max(first, last)) * step

    def _number(self, schema: Schema) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum"))
        most = schema.get("maximum", schema.get("exclusiveMaximum"))
        low = (0.0 if most is None else min(0.0, most - 1.0)) if least is None else float(least)
        high = low + 100.0 if most is None else float(most)
        return round(low + (high - low) * self._rng.uniform(0.25, 0.75), 6)

    def _text(self, schema: Schema) -> str:
        if known := _FORMATS.get(schema.get("format", "")):
            return known
        text = pseudo_sentence(self._rng, self._rng.randint(1, 3))
        while len(text) < schema.get("minLength", 0):
            text += " " + pseudo_sentence(self._rng, 8)
        return text[: max(schema.get("maxLength", len(text)), 0)]


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _without(schema: Schema, *names: str) -> Schema:
    return {name: value for name, value in schema.items() if name not in names}


def _merged(schemas: list[Schema]) -> Schema:
    """One schema that asks for all that these ask for."""
    merged: Schema = {}
    for schema in schemas:
        members = {**merged.get("properties", {}), **schema.get("properties", {})}
        required = [*merged.get("required", ()), *schema.get("required", ())]
        merged.update(schema)
        if members:
            merged["properties"] = members
        if required:
            merged["required"] = list(dict.fromkeys(required))
    return merged
