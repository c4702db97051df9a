"""What Arize Phoenix, which is not ours, has understood of our traces."""

from __future__ import annotations

import pytest

from turnwise import span_names as names

pytestmark = pytest.mark.phoenix
PROGRAMS = ("first goal", "second goal", "forked")


def named(spans, operation):
    return [span for span in spans if span["name"].partition(" ")[0] == operation]


def links(spans):
    """All dependencies, each as (span, span that it depends on, kind)."""
    return [
        (span["context"]["span_id"], *dependency.split(":"))
        for span in spans
        for dependency in span["attributes"].get(names.DEPS.name, ())
    ]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_one_trace_with_one_root_under_which_its_calls_and_tool_runs_stand(told, program):
    spans = told.spans[program]
    (root,) = [span for span in spans if span["parent_id"] is None]
    assert root["name"].partition(" ")[0] == names.WORKFLOW
    assert {span["context"]["trace_id"] for span in spans} == {told.programs[program]["trace_id"]}
    under_root = [span for span in spans if span["parent_id"] == root["context"]["span_id"]]
    assert {span["name"].partition(" ")[0] for span in under_root} - {names.CLIENT_GAP} == {names.CHAT, names.TOOL}
    known = {span["context"]["span_id"] for span in spans}
    assert {span["parent_id"] for span in spans} - known == {None}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_call_and_tool_run_has_its_span_by_its_name(told, program):
    spans, said = told.spans[program], told.programs[program]
    chats, tools = named(spans, names.CHAT), named(spans, names.TOOL)
    assert [span["name"] for span in chats] == ["chat sim"] * said["calls"]
    assert {span["name"] for span in tools} == {f"execute_tool {'delegate' if program == 'forked' else 'read_file'}"}
    assert len(tools) == said["tools"] == 1
    upstreams = named(spans, names.UPSTREAM)
    assert {span["parent_id"] for span in upstreams} == {span["context"]["span_id"] for span in chats}


@pytest.mark.parametrize("program", PROGRAMS)
def test_tokens_of_the_calls_sum_to_those_of_the_program(told, program):
    spans, said = told.spans[program], told.programs[program]
    (root,) = named(spans, names.WORKFLOW)
    for of_call, of_program, key in (
        (names.INPUT_TOKENS, names.PROMPT_TOTAL, "prompt_tokens"),
        (names.OUTPUT_TOKENS, names.COMPLETION_TOTAL, "completion_tokens"),
    ):
        total = sum(span["attributes"][of_call.name] for span in named(spans, names.CHAT))
        assert total == root["attributes"][of_program.name] == said[key] > 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_dependencies_outlive_a_backend_that_drops_links(told, program):
    spans = told.spans[program]
    kinds = {kind for _, _, kind in links(spans)}
    expected = {"spawn", "join", "continue", "tool_result"} if program == "forked" else {"continue", "tool_result"}
    assert expected <= kinds
    known = {span["context"]["span_id"] for span in spans}
    inside = [(span, other) for span, other, kind in links(spans) if kind != names.FOLLOWS]
    others = {span["context"]["span_id"] for name in PROGRAMS for span in told.spans[name]}
    assert {other for _, other in inside} <= others
    assert any(other in known for _, other in inside)


def test_a_fork_depends_on_the_call_that_spawned_it_and_its_join_on_both(told):
    spans = told.spans["forked"]
    chats = sorted(named(spans, names.CHAT), key=lambda span: span["start_time"])
    asked, child, joined = (span["context"]["span_id"] for span in chats)
    found = links(spans)
    assert (child, asked, "spawn") in found
    assert (joined, child, "join") in found
    assert (joined, asked, "continue") in found


def test_two_goals_of_a_session_are_two_traces_of_it(told, phoenix):
    expected = {told.programs[name]["trace_id"] for name in ("first goal", "second goal")}
    assert phoenix.traces_of_session(told.session) == expected
