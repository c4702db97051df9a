"""What upstreams ask of clients and why they refuse is read by people and models, as their results are."""

import pytest
from tests.unit.tools_registry import ME, A, definition, registry, settings, upstream

from turnwise.tools_gateway.settings import Limits
from turnwise.tools_gateway.trust.guard import PinnedGuard
from turnwise.tools_gateway.trust.results import UNTRUSTED
from turnwise.tools_gateway.values import Fault, ToolFault

HIDDEN = "a\u200bb\u202ec\x1b[31md"
GITHUB = "ghp_" + "a1B2" * 9
TOLD = settings(upstream(trusted=True, max_result_bytes=2048), limits=Limits(max_depth=8))


def guard():
    return PinnedGuard(TOLD)


def tool():
    tools = registry(TOLD)
    tools.learn(A, [definition()])
    return tools.tools(ME)[0]


def deep():
    value = []
    for _ in range(30):
        value = [value]
    return value


def test_each_request_of_a_result_for_input_is_cleaned_and_marked():
    asked = {"method": "elicitation/create", "params": {"message": f"{HIDDEN} {GITHUB}", "_meta": {UNTRUSTED: False, "x": 1}}}
    result = {"resultType": "input_required", "inputRequests": {"who": asked, "roots": {"method": "roots/list"}, "odd": 3}}
    requests = guard().result(tool(), result)["inputRequests"]
    assert requests == {
        "who": {
            "method": "elicitation/create",
            "params": {"message": "abcd [GitHub token removed]", "_meta": {UNTRUSTED: True, "x": 1}},
        },
        "roots": {"method": "roots/list", "params": {"_meta": {UNTRUSTED: True}}},
        "odd": 3,
    }
    assert asked["params"]["_meta"][UNTRUSTED] is False, "what came is left as it is"


@pytest.mark.parametrize("given", [[], "x", None, 3])
def test_requests_for_input_that_are_none_are_left_to_whoever_reads_them(given):
    assert guard().result(tool(), {"resultType": "input_required", "inputRequests": given})["inputRequests"] == given


@pytest.mark.parametrize(("params", "part"), [({"message": "x" * 9000}, "at most 2048"), ({"schema": deep()}, "deeper than 8")])
def test_a_request_that_passes_the_bounds_of_results_is_not_made(params, part):
    with pytest.raises(ToolFault, match=part):
        guard().relayed(A, params)


def test_the_words_of_a_refusal_are_cleaned_and_cut():
    fault = guard().refusal(ToolFault(Fault.UPSTREAM_BROKE, f"a is gone and said last: {HIDDEN} {GITHUB} {'x' * 9000}"))
    assert fault.fault is Fault.UPSTREAM_BROKE
    assert fault.message.startswith("a is gone and said last: abcd [GitHub token removed] xxx")
    assert len(fault.message) == 4096
    assert fault.error is None


def test_an_error_of_the_protocol_keeps_its_code_and_what_of_its_data_is_short():
    error = {"code": -32021, "message": HIDDEN, "data": {"requiredCapabilities": {"sampling": {}}, "why": HIDDEN}, "x": 1}
    fault = guard().refusal(ToolFault(Fault.UPSTREAM_REFUSED, HIDDEN, error))
    assert fault.error == {
        "code": -32021,
        "message": "abcd",
        "data": {"requiredCapabilities": {"sampling": {}}, "why": "abcd"},
    }


@pytest.mark.parametrize("data", ["x" * 70_000, deep()])
def test_data_of_an_error_that_are_long_or_deep_are_left_out(data):
    fault = guard().refusal(ToolFault(Fault.UPSTREAM_REFUSED, "no", {"code": "odd", "message": 3, "data": data}))
    assert fault.error == {"code": "odd", "message": "3"}


def test_half_a_character_of_a_refusal_is_replaced():
    fault = guard().refusal(ToolFault(Fault.UPSTREAM_REFUSED, "a\ud800", {"code": 1, "message": "b\ud800", "data": "c\ud800"}))
    assert (fault.message, fault.error) == ("a?", {"code": 1, "message": "b?", "data": "c?"})
