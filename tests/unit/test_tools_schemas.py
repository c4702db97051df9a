"""Which schemas are taken: none that reads anything, and none that can keep its checker busy."""

import json

import pytest

from turnwise.tools_gateway.registry.schema_cost import MAX_LOOKS, TooIntricate, cost
from turnwise.tools_gateway.registry.schemas import Sloppy, checker

TREE = {
    "type": "object",
    "properties": {
        "and": {"type": "array", "items": {"$ref": "#"}},
        "or": {"type": "array", "items": {"$ref": "#"}},
        "not": {"$ref": "#"},
    },
}
"""Refers to itself, but each place of what is checked is looked at once."""


def chain(steps, branches=2):
    """Each step leads to the next by several ways: branches to the power of steps looks at one place."""
    found = {f"a{step}": {"allOf": [{"$ref": f"#/$defs/a{step + 1}"}] * branches} for step in range(steps)}
    return {"$defs": {**found, f"a{steps}": {"type": "object"}}, "$ref": "#/$defs/a0"}


def doubling():
    """Every level of what is checked is looked at twice as often as the one above."""
    below = {"properties": {"x": {"$ref": "#"}}}
    return {"type": "object", "anyOf": [below, below], "not": {"const": 1}}


@pytest.mark.parametrize(
    "reference",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://example.com/schema.json",
        "file:///etc/passwd",
        "schema.json",
        "//example.com/x",
        "https://json-schema.org/draft/2020-12/schema",
        "urn:example:x",
        "#/$defs/absent",
        "#absent",
        3,
    ],
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_a_reference_out_of_a_schema_is_refused_and_never_followed(reference, keyword, monkeypatch):
    def no_network(*_args, **_kwargs):
        raise AssertionError("something was fetched")

    monkeypatch.setattr("socket.socket.connect", no_network)
    with pytest.raises(Sloppy, match="refers"):
        checker({"type": "object", "properties": {"a": {keyword: reference}}})


def test_a_meta_schema_that_nobody_knows_is_not_fetched():
    with pytest.raises(Sloppy, match="meta-schema"):
        checker({"$schema": "https://evil.example/schema", "type": "object"})


def test_a_schema_within_a_schema_cannot_change_what_references_mean():
    with pytest.raises(Sloppy, match="address of its own"):
        checker({"properties": {"a": {"$id": "https://evil.example/x", "type": "string"}}})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/x", "type": "object"},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a": {}},
            "properties": {"a": {"$ref": "#/definitions/a"}},
        },
        {"$defs": {"a": {"$anchor": "here", "type": "string"}}, "properties": {"a": {"$ref": "#here"}}},
        {"$defs": {"a/b~c d": True}, "properties": {"a": {"$ref": "#/$defs/a~1b~0c%20d"}}},
        {"allOf": [{"type": "object"}, {"required": ["a"]}], "properties": {"b": {"$ref": "#/allOf/1"}}},
        {"properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}, "$id": {"type": "string"}, "enum": {}}},
        {"properties": {"a": {"type": "string", "format": "email", "pattern": r"^(?!\.)(?!.*\.\.)[^@]+@[^@]+$"}}},
        {"properties": {"a": {"type": "string", "pattern": r"^[\w.-]{1,64}$"}}, "patternProperties": {"^x-": {}}},
        {"properties": {"a": {"prefixItems": [{}, {"type": "string"}], "items": False}}, "additionalProperties": False},
        {"oneOf": [{"properties": {"kind": {"const": kind}, kind: {"type": "string"}}} for kind in "abcdef"]},
        {"properties": {f"p{number}": {"type": "string", "description": "x" * 50} for number in range(300)}},
        {"enum": [{"a": number} for number in range(500)]},
        TREE,
        chain(6),
    ],
    ids=lambda schema: json.dumps(schema)[:60],
)
def test_schemas_that_tools_have_are_taken(schema):
    assert checker(schema).cost <= MAX_LOOKS


def test_a_schema_that_refers_to_itself_below_is_looked_at_once_a_place():
    deep = {}
    for _ in range(60):
        deep = {"not": deep}
    assert cost(TREE) < 8
    assert checker(TREE).validator.is_valid(deep)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (chain(30), "too often"),
        (chain(12, branches=3), "too often"),
        (doubling(), "too often"),
        ({"$ref": "#"}, "without an end"),
        ({"allOf": [{"anyOf": [{"$ref": "#/allOf/0"}]}]}, "without an end"),
        (chain(200, branches=1), "too many steps"),
        ({"allOf": [{"pattern": "a"}] * 40}, "too often"),
        ({"patternProperties": {f"a{number}": {} for number in range(40)}}, "too often"),
        ({"enum": list(range(8000))}, "too often"),
        ({"properties": {"a": {"pattern": "(a{1000}){1000}"}}, "not": {"pattern": "(?=x)y"}}, "no JSON Schema"),
        ({"patternProperties": {"(?=x)y": {}}}, "no JSON Schema"),
        ({"description": "x" * 70_000}, "larger than"),
        ({"type": "strin"}, "no JSON Schema"),
        ({"required": "a"}, "no JSON Schema"),
        ({"pattern": "("}, ""),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_a_schema_that_could_hang_its_checker_or_is_none_is_refused(schema, why):
    if not why:
        assert checker(schema).validator.is_valid("anything"), "what is no pattern checks nothing"
        return
    with pytest.raises(Sloppy, match=why):
        checker(schema)


def test_a_schema_nested_without_end_is_refused():
    schema = {}
    for _ in range(10_000):
        schema = {"not": schema}
    with pytest.raises(Sloppy):
        checker(schema)


def test_unevaluated_members_cost_another_look_at_each_level():
    def nested(levels):
        schema = {"type": "object"}
        for _ in range(levels):
            schema = {"allOf": [schema], "unevaluatedProperties": False}
        return schema

    assert cost(nested(4)) > 2 * cost(nested(2))
    with pytest.raises(TooIntricate, match="too often"):
        cost(nested(20))


def test_a_pattern_that_cannot_be_matched_in_linear_time_is_left_to_the_upstream():
    lookahead = {"properties": {"a": {"type": "string", "maxLength": 3, "pattern": "^(?!x)"}, "b": {"pattern": "^y"}}}
    validator = checker(lookahead).validator
    assert validator.is_valid({"a": "xyz"})
    assert not validator.is_valid({"a": "xyzz"})
    assert not validator.is_valid({"b": "x"})
