"""Public names of tools: legal everywhere, one for each tool, and found again."""

import re

import pytest
from tests.unit.tools_registry import ME, A, B, definition, pinned, registry, settings, upstream

from turnwise.tools_gateway.registry.names import public_name
from turnwise.tools_gateway.values import ToolKey, ToolState

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")


@pytest.mark.parametrize("tool", ["x", "x" * 64, "x" * 128, "a.b/c", "größe", "日本語", "", "a b", "\ud800"])
def test_every_public_name_is_one_that_the_apis_of_models_take(tool):
    name = public_name("a__", ToolKey(A, tool))
    assert LEGAL.fullmatch(name)
    assert name == public_name("a__", ToolKey(A, tool))


def test_a_name_that_fits_is_kept_and_one_that_does_not_keeps_a_readable_head():
    assert public_name("git__", ToolKey(A, "git_status")) == "git__git_status"
    assert public_name("", ToolKey(A, "git_status")) == "git_status"
    assert re.fullmatch(r"a__read_file_[0-9a-f]{8}", public_name("a__", ToolKey(A, "read.file")))


def test_names_that_differ_only_behind_the_cut_stay_apart():
    long = "x" * 80
    names = {public_name("a__", ToolKey(upstream, long + end)) for upstream in (A, B) for end in "12"}
    assert len(names) == 4


def test_a_tool_is_found_by_its_whole_name_and_by_each_alias_of_the_file():
    tools = registry(settings(upstream(trusted=True)))
    tools.learn(A, [definition("read__file")])
    for name in ("a__read__file", "mcp__turnwise__a__read__file", "turnwise_a__read__file", "mcp_turnwise_a__read__file"):
        assert tools.resolve(name, ME).key == ToolKey(A, "read__file")
    for name in ("read__file", "a__read", "a_read__file", "A__read__file", "mcp__other__a__read__file", ""):
        assert tools.resolve(name, ME) is None


def test_an_alias_that_could_mean_two_tools_means_none_and_a_name_wins_over_an_alias():
    tools = registry(settings(upstream(trusted=True, prefix=""), aliases=("t_{tool}", "t__{tool}")))
    tools.learn(A, [definition("_x"), definition("x"), definition("t_y"), definition("y")])
    assert tools.resolve("t__x", ME) is None
    assert tools.resolve("t_y", ME).key.tool == "t_y"
    assert tools.resolve("t__y", ME).key.tool == "y"


def test_the_order_is_that_of_the_file_and_then_of_names_whatever_an_upstream_lists_first():
    told = settings(upstream("b", trusted=True), upstream("a", trusted=True))
    tools, again = registry(told), registry(told)
    tools.learn(A, [definition("z"), definition("y")])
    tools.learn(B, [definition("x"), definition("w")])
    again.learn(B, [definition("w"), definition("x")])
    again.learn(A, [definition("y"), definition("z")])
    names = [tool.name for tool in tools.tools(ME)]
    assert names == ["b__w", "b__x", "a__y", "a__z"] == [tool.name for tool in again.tools(ME)]
    assert not tools.learn(A, [definition("y"), definition("z")]), "the same tools in another order are no change"


def test_no_upstream_can_take_the_name_or_the_approval_of_anothers_tool():
    a, b = upstream("a"), upstream("b")
    tools = registry(settings(a, b), pinned(a, definition()))
    tools.learn(A, [definition()])
    tools.learn(B, [definition(), definition("a__echo")])
    assert tools.resolve("a__echo", ME).key == ToolKey(A, "echo")
    assert [tool.name for tool in tools.tools(ME)] == ["a__echo"]
    assert tools.resolve("b__a__echo", ME).state is ToolState.QUARANTINED


def test_a_tool_whose_public_name_is_taken_is_left_out_and_complained_of():
    taken = public_name("a__", ToolKey(A, "x.y"))
    tools = registry(settings(upstream(trusted=True)))
    tools.learn(A, [definition("x.y"), definition(taken.removeprefix("a__"))])
    assert len(tools.tools(ME)) == 1
    assert "not offered" in tools.complaints()[0]
