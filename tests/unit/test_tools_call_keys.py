"""Which calls are equal."""

import json
import math

import pytest
from tests.unit.tool_runs_world import READ, tool

from turnwise.tools_gateway.runs.values import canonical, make_call
from turnwise.tools_gateway.values import Credential, Principal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":[true,null]}', ' { "b" : [ true, null ], "a" : 1 } '),
        ('{"a":{"x":1,"y":2}}', '{"a":{"y":2,"x":1}}'),
        ('{"a":"\\u00e9\\n"}', '{"a":"é\\u000a"}'),
        ('{"a":100.0}', '{"a":1e2}'),
        ('{"a":0.5}', '{"a":5.0E-1}'),
        ('{"\\u0061":1}', '{"a":1}'),
    ],
)
def test_spelling_makes_no_difference(one, other):
    assert canonical(json.loads(one)) == canonical(json.loads(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1}', '{"a":1.0}'),
        ('{"a":1}', '{"a":true}'),
        ('{"a":0}', '{"a":false}'),
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":null}', "{}"),
        ('{"a":[1,2]}', '{"a":[2,1]}'),
        ('{"a":9007199254740993}', '{"a":9007199254740992}'),
        ('{"a":"é"}', '{"a":"e\\u0301"}'),
        ('{"a":{"b":1}}', '{"a":1,"b":1}'),
    ],
)
def test_values_that_differ_are_not_equal(one, other):
    assert canonical(json.loads(one)) != canonical(json.loads(other))


def test_what_is_no_json_has_no_key():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": math.nan})


def test_half_a_surrogate_pair_has_a_key():
    assert canonical({"a": "\ud800"}) == b'{"a":"\\ud800"}'


def test_the_key_holds_who_asks_and_what_the_upstream_is_shown():
    def key(tenant="a", scopes=frozenset(), credential="c", name="t"):
        return make_call(Principal(tenant, scopes), tool(name, READ), Credential("up", credential), {"a": 1}, {}).key

    assert key() == key(scopes=frozenset({"s"}))
    assert len({key(), key(tenant="b"), key(credential="d"), key(name="u")}) == 4
