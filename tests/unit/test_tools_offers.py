"""Which tools a request lets the model call."""

import pytest
from tests.unit.tool_streams import CHAT, MESSAGES, RESPONSES, body, request, tools

from turnwise.proxy.dispatch.offers import Offers

PATHS = (CHAT, MESSAGES, RESPONSES)


def names(given, path=CHAT, offers=None):
    asked = request(path, given)
    found = (Offers() if offers is None else offers).of(asked.prompt, asked.chain)
    return None if found is None else sorted(found)


@pytest.mark.parametrize("path", PATHS)
def test_the_names_of_a_catalogue_are_offered(path):
    assert names(body(path, "f", "g"), path) == ["f", "g"]


@pytest.mark.parametrize("path", PATHS)
def test_a_catalogue_of_many_segments_is_read_whole(path):
    many = [f"tool_number_{number:04}" for number in range(500)]
    assert names(body(path, *many), path) == many


@pytest.mark.parametrize("path", PATHS)
def test_a_request_without_tools_offers_nothing(path):
    assert names({key: value for key, value in body(path).items() if key != "tools"}, path) is None


CHOICES = {
    "auto": (CHAT, "auto", ["f", "g"]),
    "required": (CHAT, "required", ["f", "g"]),
    "none": (CHAT, "none", []),
    "named": (CHAT, {"type": "function", "function": {"name": "g"}}, ["g"]),
    "named and not offered": (CHAT, {"type": "function", "function": {"name": "x"}}, []),
    "allowed": (
        CHAT,
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"}}]}},
        ["f"],
    ),
    "messages auto": (MESSAGES, {"type": "auto"}, ["f", "g"]),
    "messages any": (MESSAGES, {"type": "any", "disable_parallel_tool_use": True}, ["f", "g"]),
    "messages none": (MESSAGES, {"type": "none"}, []),
    "messages tool": (MESSAGES, {"type": "tool", "name": "f"}, ["f"]),
    "responses named": (RESPONSES, {"type": "function", "name": "g"}, ["g"]),
    "responses allowed": (RESPONSES, {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "g"}]}, ["g"]),
    "of another type": (CHAT, 7, []),
}


@pytest.mark.parametrize(("path", "choice", "expected"), CHOICES.values(), ids=CHOICES)
def test_tool_choice_says_which_of_them(path, choice, expected):
    assert names(body(path, "f", "g", tool_choice=choice), path) == expected


def test_other_template_arguments_beside_tool_choice_change_nothing():
    given = body(CHAT, "f", "g", tool_choice="none", chat_template_kwargs={"a": 1}, chat_template="x" * 20_000)
    assert names(given) == []


def test_a_catalogue_of_another_shape_offers_nothing():
    assert names({**body(CHAT), "tools": {"f": 1}}) == []
    assert names({**body(CHAT), "tools": [{"type": "function", "function": "f"}]}) == []


def test_lists_are_remembered_by_all_that_decides_and_the_one_used_longest_ago_goes():
    offers = Offers(max_offers=2)
    assert [names(body(CHAT, "f"), offers=offers) for _ in range(3)] == [["f"]] * 3
    assert len(offers) == 1
    assert names(body(CHAT, "f", tool_choice="none"), offers=offers) == []
    assert names(body(CHAT, "f"), offers=offers) == ["f"]
    assert names(body(CHAT, "g"), offers=offers) == ["g"]
    assert len(offers) == 2
    assert names({**body(CHAT), "tools": tools(CHAT, "f", "g", "h")}, offers=offers) == ["f", "g", "h"]
