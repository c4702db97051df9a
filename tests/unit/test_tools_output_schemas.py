"""Results are what their tool's outputSchema says, or the model is told that they are not."""

import logging

import pytest
from tests.unit.tools_registry import ME, A, definition, registry, settings, upstream

from turnwise.tools_gateway.settings import ToolMarks
from turnwise.tools_gateway.trust.guard import PinnedGuard
from turnwise.tools_gateway.values import Fault, ToolFault

SCHEMA = {
    "type": "object",
    "properties": {"celsius": {"type": "number"}, "when": {"type": "object", "properties": {"day": {"enum": ["mon", "tue"]}}}},
    "required": ["celsius"],
    "additionalProperties": False,
}
CONTENT = {"content": [{"type": "text", "text": "it is warm"}]}


def tool(schema=SCHEMA, **members):
    tools = registry(settings(upstream(trusted=True, **members)))
    tools.learn(A, [definition(outputSchema=schema)])
    (found,) = tools.tools(ME)
    return found


def guard(**members):
    return PinnedGuard(settings(upstream(trusted=True, **members)))


def refusal(structured, schema=SCHEMA, **members):
    with pytest.raises(ToolFault) as caught:
        guard().result(tool(schema, **members), {**CONTENT, "structuredContent": structured})
    assert caught.value.fault is Fault.BAD_RESULT
    return caught.value.message


def test_a_result_that_holds_is_given_as_it_is():
    for structured in ({"celsius": 21.5}, {"celsius": 3, "when": {"day": "mon"}}):
        assert guard().result(tool(), {**CONTENT, "structuredContent": structured})["structuredContent"] == structured
    rows = {"type": "array", "items": {"type": "integer"}}
    assert guard().result(tool(rows), {**CONTENT, "structuredContent": [1, 2]})["structuredContent"] == [1, 2]


@pytest.mark.parametrize(
    ("structured", "part"),
    [
        ({}, "`celsius` is missing"),
        ({"celsius": "hunter2"}, '`celsius`: the value is not of type "number"'),
        ({"celsius": 1, "when": {"day": "hunter2"}}, "`when.day`: the value is not one of"),
        ({"celsius": 1, "hi\u202edden": "hunter2"}, "its schema has no `hidden`"),
        (None, 'the value is not of type "object"'),
    ],
)
def test_a_result_that_does_not_hold_is_refused_by_member_in_words_and_never_by_value(structured, part):
    message = refusal(structured)
    assert message.startswith("The values that a__echo gave cannot be used: ")
    assert part in message
    assert "hunter2" not in message


def test_who_may_call_again_is_told_whether_the_tool_has_had_its_effect():
    assert refusal({}).endswith(" It ran, and has had its effect.")
    assert refusal({}, tools={"echo": ToolMarks(read_only=True)}).endswith("`celsius` is missing.")


def test_a_result_without_the_structured_content_that_its_tool_promises_is_refused():
    with pytest.raises(ToolFault, match="it gave no structured content"):
        guard().result(tool(), CONTENT)


@pytest.mark.parametrize("more", [{"isError": True}, {"resultType": "input_required", "inputRequests": {}}])
def test_an_error_and_a_request_for_input_need_not_hold(more):
    assert guard().result(tool(), {**CONTENT, **more})["content"] == CONTENT["content"]


def test_a_result_that_was_cut_says_that_it_was_and_is_not_blamed_for_what_it_lost():
    given = guard(max_result_bytes=1024).result(tool(), {**CONTENT, "structuredContent": {"celsius": 1, "x": "x" * 5000}})
    assert given["isError"] is True
    assert "[cut: " in given["content"][-1]["text"]


def test_an_operator_may_have_such_results_passed_on_and_is_told_once_a_tool(caplog):
    lax = guard(strict_results=False)
    with caplog.at_level(logging.WARNING):
        for structured in ({}, {"celsius": "warm"}, {"celsius": 1}):
            assert lax.result(tool(), {**CONTENT, "structuredContent": structured})["structuredContent"] == structured
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == "a__echo gives values that are not what its outputSchema says: `celsius` is missing"


def test_what_would_take_too_long_to_check_is_passed_on():
    intricate = {"type": "object", "properties": {"a": {"allOf": [{"pattern": "b$"}] * 18}}}
    message = refusal({"a": "x" * 1000}, intricate)
    assert "`a`: the value does not match" in message
    large = {**CONTENT, "structuredContent": {"a": "x" * 500_000}}
    assert guard().result(tool(intricate), large)["structuredContent"] == large["structuredContent"]


def test_the_schema_is_the_one_that_was_approved():
    known = guard()
    first, second = tool(), tool({"type": "object", "required": ["other"]})
    given = {**CONTENT, "structuredContent": {"celsius": 1}}
    known.result(first, given)
    with pytest.raises(ToolFault, match="`other` is missing"):
        known.result(second, given)
    known.result(first, given)
