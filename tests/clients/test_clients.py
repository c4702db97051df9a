"""Real clients, unchanged but for `base_url`, come to the end of a tool loop through the proxy."""

import re
import uuid

import msgspec
import pytest

pytestmark = pytest.mark.clients

BLOCK_SIZE = 16
SENTENCES = re.compile(r"(?:[A-Z]?[a-z]+(?:[ .] ?|$))+")
PIECE = re.compile(r"[A-Za-z]+|\.")
END_OF_TURN = 1
"""Tokens that an answer has beside those that one sees."""


class Case(msgspec.Struct, frozen=True):
    """One client in one of its ways; `num_calls` is what its loop takes when the engine asks for one tool run."""

    environment: str
    script: str
    arguments: str = ""
    dialect: str = "chat"
    num_calls: int = 2

    @property
    def name(self):
        return "-".join((self.script, *self.arguments.replace("--", "").split()))


CASES = (
    Case("frameworks", "openai_chat"),
    Case("frameworks", "openai_chat", "--stream"),
    Case("frameworks", "openai_chat", "--async"),
    Case("frameworks", "openai_chat", "--async --stream"),
    Case("frameworks", "openai_responses", "", "responses"),
    Case("frameworks", "openai_responses", "--stream", "responses"),
    Case("frameworks", "openai_responses", "--async", "responses"),
    Case("frameworks", "openai_responses", "--async --stream", "responses"),
    Case("frameworks", "openai_responses", "--previous", "responses"),
    Case("frameworks", "openai_responses", "--previous --async --stream", "responses"),
    Case("frameworks", "anthropic_messages", "", "messages"),
    Case("frameworks", "anthropic_messages", "--stream", "messages"),
    Case("frameworks", "anthropic_messages", "--async", "messages"),
    Case("frameworks", "anthropic_messages", "--async --stream", "messages"),
    Case("frameworks", "openai_agents", "--dialect responses", "responses"),
    Case("frameworks", "openai_agents", "--dialect responses --stream", "responses"),
    Case("frameworks", "openai_agents", "--dialect chat"),
    Case("frameworks", "openai_agents", "--dialect chat --stream"),
    Case("frameworks", "langgraph_agent"),
    Case("frameworks", "langgraph_agent", "--stream"),
    Case("frameworks", "pydantic_ai_agent", "--dialect chat"),
    Case("frameworks", "pydantic_ai_agent", "--dialect chat --stream"),
    Case("frameworks", "pydantic_ai_agent", "--dialect responses", "responses"),
    Case("frameworks", "pydantic_ai_agent", "--dialect responses --stream", "responses"),
    Case("frameworks", "pydantic_ai_agent", "--dialect messages", "messages"),
    Case("frameworks", "pydantic_ai_agent", "--dialect messages --stream", "messages"),
    Case("litellm", "litellm_sdk", "--dialect openai"),
    Case("litellm", "litellm_sdk", "--dialect openai --stream"),
    Case("litellm", "litellm_sdk", "--dialect hosted_vllm"),
    Case("litellm", "litellm_sdk", "--dialect hosted_vllm --stream"),
    Case("litellm", "litellm_sdk", "--dialect messages", "messages"),
    Case("litellm", "litellm_sdk", "--dialect messages --stream", "messages"),
)


@pytest.fixture
def goal():
    """A question that nobody asked before, so that what is cached of it was cached for this conversation."""
    return f"Which coat do I need in the town of {uuid.uuid4().hex}?"


class Watch:
    """What the proxy saw of one client."""

    def __init__(self, fleet):
        self.fleet = fleet
        self._before = {call["call_id"] for call in fleet.calls()}
        self._errors_before = self._errors()

    def _errors(self):
        failed = self.fleet.total("turnwise_attempts_failed_total")
        return {"refused": self.fleet.total("turnwise_refused_total"), "attempts failed": failed}

    def calls(self):
        return [call for call in self.fleet.calls() if call["call_id"] not in self._before]

    def new_errors(self):
        return {name: count - self._errors_before[name] for name, count in self._errors().items()}


def assert_all_went_well(calls, dialect, num_calls):
    assert [(call["status"], call["reason"], call["dialect"]) for call in calls] == [(200, None, dialect)] * num_calls
    assert all(call["usage"] and call["usage"]["completion_tokens"] for call in calls)


def num_extensions(calls):
    """Calls whose cached tokens cover every full block of an earlier, shorter prompt of the same client."""
    extended = 0
    for index, call in enumerate(calls):
        prompts = [earlier["usage"]["prompt_tokens"] for earlier in calls[:index]]
        shorter = [tokens for tokens in prompts if BLOCK_SIZE < tokens < call["usage"]["prompt_tokens"]]
        extended += any(call["usage"]["cached_tokens"] >= tokens // BLOCK_SIZE * BLOCK_SIZE for tokens in shorter)
    return extended


def assert_whole_answer(text, call):
    """Every token that the engine counted has arrived as text."""
    assert SENTENCES.fullmatch(text), text
    assert len(PIECE.findall(text)) + END_OF_TURN == call["usage"]["completion_tokens"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_client_completes_its_tool_loop(fleet, goal, case):
    watch = Watch(fleet)
    errand = fleet.run(case.environment, case.script, *case.arguments.split(), goal=goal)
    calls = watch.calls()
    assert_all_went_well(calls, case.dialect, case.num_calls)
    assert len(errand.tool_runs) == 1
    assert_whole_answer(errand.text, calls[-1])
    assert num_extensions(calls) == case.num_calls - 1
    assert not any(watch.new_errors().values())
    assert fleet.outside.asked_for == []


@pytest.mark.parametrize("arguments", [(), ("--stream",)], ids=["whole", "stream"])
def test_smolagents_ends_with_its_own_tool(fleet, goal, arguments):
    watch = Watch(fleet)
    errand = fleet.run("frameworks", "smolagents_agent", *arguments, goal=goal)
    calls = watch.calls()
    assert_all_went_well(calls, "chat", 2)
    assert [call["finish_reason"] for call in calls] == ["tool_calls", "tool_calls"]
    assert len(errand.tool_runs) == 1
    assert SENTENCES.fullmatch(errand.text.capitalize()), errand.text
    assert num_extensions(calls) == 1
    assert not any(watch.new_errors().values())
    assert fleet.outside.asked_for == []


@pytest.mark.parametrize("arguments", [(), ("--stream",)], ids=["whole", "stream"])
def test_the_tool_runner_goes_on_without_threads(fleet, goal, arguments):
    watch = Watch(fleet)
    errand = fleet.run("frameworks", "anthropic_tool_runner", *arguments, goal=goal)
    calls = watch.calls()
    assert_all_went_well(calls, "messages", 2)
    assert len(errand.tool_runs) == 1
    assert_whole_answer(errand.text, calls[-1])
    assert num_extensions(calls) == 1
    assert watch.new_errors() == {"refused": 1, "attempts failed": 0}  # asked once for a thread, and told that there is none
    assert fleet.outside.asked_for == []


@pytest.mark.usefixtures("coding_cli")
def test_a_coding_cli_keeps_its_list_and_says_so(fleet, goal):
    watch = Watch(fleet)
    errand = fleet.run("cli", "opencode_cli", goal=goal)
    calls = watch.calls()
    assert_all_went_well(calls, "chat", 3)  # two turns, and one call beside them for the session's title
    assert len(errand.tool_runs) == 1
    (last,) = [call for call in calls if num_extensions([*calls[: calls.index(call)], call])]
    assert_whole_answer(errand.text, last)
    assert not any(watch.new_errors().values())
    assert fleet.outside.asked_for == []


def test_an_sdk_that_retries_succeeds_once_a_replica_comes(fleet, goal):
    watch = Watch(fleet)
    fleet.drain(is_draining=True)
    try:
        with fleet.client("frameworks", "openai_chat", goal=goal) as process:
            fleet.wait_until(lambda: watch.new_errors()["refused"])
            fleet.drain(is_draining=False)
            errand = fleet.finished(process)
    finally:
        fleet.drain(is_draining=False)
    assert_all_went_well(watch.calls(), "chat", 2)
    assert len(errand.tool_runs) == 1
