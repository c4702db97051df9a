"""How often a JSON Schema can make its checker look at one place of what is checked: what keeps a schema from hanging us.

A schema is a graph: edges that stay at a place (`allOf`, `$ref`, ...) and edges that lead to a member or an item. Branches that
meet again at one place multiply: twenty steps that each branch in two are a million looks at the last. Here the places are
walked, each with how often every node of the schema looks at it, until nothing new comes; what looks too often, or has too many
kinds of places, is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from turnwise.tools_gateway.values import JsonObject

MAX_LOOKS = 512
"""Weighted, at one place. Schemas of the reference servers (MCP, 2026.8) have at most 12."""
MAX_PLACES = 20_000
"""Kinds of places of one schema that are told apart, times the nodes that look at each."""
MAX_STEPS = 64
"""From schema to schema that stay at one place."""
PATTERN_WEIGHT = 24
"""Looks that a pattern counts for: at worst 2 us a byte with the bounds of `schemas`, and one look is about 80 ns."""

_AT_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_AT_PLACE = ("not", "if", "then", "else")
_EVERY_CHILD = (
    "additionalProperties",
    "propertyNames",
    "items",
    "contains",
    "additionalItems",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_UNEVALUATED = frozenset(("unevaluatedItems", "unevaluatedProperties"))
_EVERY = ""
"""Label of an edge to every child; that to the property `x` is `.x`, to the item 3 `3`."""


class TooIntricate(ValueError):
    """A schema could keep its checker busy for too long, or has no end; the message says which, as the end of a sentence."""


class _Node:
    """A schema within a schema: what it weighs, and where it leads."""

    def __init__(self, schema: JsonObject) -> None:
        self.schema = schema
        self.weight = 1
        self.here: list[int] = []
        self.below: list[tuple[str, int]] = []


def cost(schema: JsonObject) -> int:
    """Most looks, weighted, at any one place; raises `TooIntricate` above the bounds, and for what no pointer leads to.

    An upper bound on the work of a check is this times the number of values that are checked.
    """
    graph = _Graph(schema)
    most, work = 0, 0
    first = graph.closed({0: 1})
    seen = {frozenset(first.items())}
    pending = [first]
    while pending:
        looks = pending.pop()
        work += len(looks)
        most = max(most, sum(graph.nodes[node].weight * times for node, times in looks.items()))
        if most > MAX_LOOKS or work > MAX_PLACES:
            raise TooIntricate("looks at one place too often" if most > MAX_LOOKS else "has too many kinds of places")
        for below in graph.children(looks):
            closed = graph.closed(below)
            if (known := frozenset(closed.items())) not in seen:
                seen.add(known)
                pending.append(closed)
    return most


class _Graph:
    def __init__(self, root: JsonObject) -> None:
        self.nodes: list[_Node] = []
        self._numbers: dict[int, int] = {}
        self._root = root
        self._anchors: dict[str, JsonObject] = {}
        self._note_anchors(root)
        self._closures: dict[int, Counter[int]] = {}
        self._number(root)
        position = 0
        while position < len(self.nodes):
            self._read(self.nodes[position])
            position += 1

    def closed(self, looks: Mapping[int, int]) -> Counter[int]:
        """With the nodes that those of `looks` lead to at the same place."""
        total: Counter[int] = Counter()
        for node, times in looks.items():
            for reached, count in self._closure(node, ()).items():
                total[reached] += min(count * times, MAX_LOOKS + 1)
        return total

    def children(self, looks: Mapping[int, int]) -> Iterator[dict[int, int]]:
        """What looks at each kind of child of a place."""
        by_label: dict[str, Counter[int]] = {_EVERY: Counter()}
        for node, times in looks.items():
            for label, below in self.nodes[node].below:
                by_label.setdefault(label, Counter())[below] += times
        every = by_label[_EVERY]
        for found in by_label.values():
            if found:
                yield dict(found) if found is every else dict(found + every)

    def _closure(self, node: int, path: tuple[int, ...]) -> Counter[int]:
        if node in path:
            raise TooIntricate("refers to itself without an end")
        if len(path) > MAX_STEPS:
            raise TooIntricate("takes too many steps at one place")
        known = self._closures.get(node)
        if known is None:
            known = Counter((node,))
            for other in self.nodes[node].here:
                for reached, count in self._closure(other, (*path, node)).items():
                    known[reached] = min(known[reached] + count, MAX_LOOKS + 1)
            self._closures[node] = known
        return known

    def _number(self, schema: JsonObject) -> int:
        number = self._numbers.get(id(schema))
        if number is None:
            number = self._numbers[id(schema)] = len(self.nodes)
            self.nodes.append(_Node(schema))
        return number

    def _read(self, node: _Node) -> None:
        if node.schema is not self._root and isinstance(node.schema.get("$id"), str):
            raise TooIntricate("holds another schema with an address of its own")
        for key, value in node.schema.items():
            for label, schema in self._leads(key, value):
                number = self._number(schema)
                if label is None:
                    node.here.append(number)
                else:
                    node.below.append((label, number))
            if key == "pattern":
                node.weight += PATTERN_WEIGHT
            elif key == "patternProperties" and isinstance(value, dict):
                node.weight += PATTERN_WEIGHT * len(value)
            elif key in {"enum", "required", "const"}:
                node.weight += _num_values(value) // 4
        if not _UNEVALUATED.isdisjoint(node.schema):
            node.here *= 2  # its checker goes through them again to see what they looked at

    def _leads(self, key: str, value: object) -> Iterator[tuple[str | None, JsonObject]]:
        if key in {"$ref", "$dynamicRef", "$recursiveRef"}:
            yield None, self._resolved(value)
        elif key in _AT_PLACE_LISTS and isinstance(value, list):
            yield from ((None, schema) for schema in value if isinstance(schema, dict))
        elif key in _AT_PLACE and isinstance(value, dict):
            yield None, value
        elif key in {"dependentSchemas", "dependencies"} and isinstance(value, dict):
            yield from ((None, schema) for schema in value.values() if isinstance(schema, dict))
        elif key == "properties" and isinstance(value, dict):
            yield from ((f".{name}", schema) for name, schema in value.items() if isinstance(schema, dict))
        elif key == "patternProperties" and isinstance(value, dict):
            yield from ((_EVERY, schema) for schema in value.values() if isinstance(schema, dict))
        elif key in {"prefixItems", "items"} and isinstance(value, list):
            yield from ((str(position), schema) for position, schema in enumerate(value) if isinstance(schema, dict))
        elif key in _EVERY_CHILD and isinstance(value, dict):
            yield _EVERY, value

    def _resolved(self, reference: object) -> JsonObject:
        found: object = None
        if reference == "#":
            return self._root
        if isinstance(reference, str) and reference.startswith("#/"):
            found = self._root
            for part in reference[2:].split("/"):
                step = unquote(part).replace("~1", "/").replace("~0", "~")
                if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                    found = found[int(step)]
                else:
                    found = found.get(step) if isinstance(found, dict) else None
        elif isinstance(reference, str) and reference.startswith("#"):
            found = self._anchors.get(reference[1:])
        if found is True:
            return {}
        if not isinstance(found, dict):
            where = (
                "outside of itself"
                if isinstance(reference, str) and not reference.startswith("#")
                else "to what it does not hold"
            )
            raise TooIntricate(f"refers {where}: {reference!r:.80}")
        return found

    def _note_anchors(self, node: object) -> None:
        if isinstance(node, dict):
            for key in ("$anchor", "$dynamicAnchor"):
                if isinstance(name := node.get(key), str):
                    self._anchors[name] = node
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            self._note_anchors(child)


def _num_values(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_num_values, value.values()))
    return 1 + sum(map(_num_values, value)) if isinstance(value, list) else 1
