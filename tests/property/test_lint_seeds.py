"""Conversations that break their prefix in one known way: the linter names it, and is silent about all others."""

import random

import pytest
from bench.knowledge.linting import INSTABILITIES, broken_case
from bench.knowledge.linting.agents import Agent, request_of
from bench.knowledge.naming import BAR, findings_of, is_named

from turnwise.proxy.lint import Cause, Linter, Step
from turnwise.settings import LintSettings

SEEDS_PER_CAUSE = 12
NUM_STABLE = 40
BY_TEMPLATE = {cause for cause in Cause if cause.name.startswith("TEMPLATE_")} - {Cause.TEMPLATE_ARGUMENTS}
ELSEWHERE = BY_TEMPLATE | {Cause.API_CHANGED, Cause.UNKNOWN}
"""Causes with tests of their own in tests/unit/test_lint.py: they are no habit of one client."""


def test_there_is_an_instability_for_every_cause_of_a_client():
    assert set(INSTABILITIES) == set(Cause) - ELSEWHERE
    assert SEEDS_PER_CAUSE * len(INSTABILITIES) >= 200


@pytest.mark.parametrize("cause", INSTABILITIES)
def test_the_cause_is_named_at_the_call_that_broke_the_prefix(cause):
    named = [is_named(cause, seed) for seed in range(SEEDS_PER_CAUSE)]
    assert sum(named) / len(named) >= BAR, [seed for seed, is_right in enumerate(named) if not is_right]


def test_what_was_lost_lies_behind_the_place_where_the_prompts_part():
    agent, _, bodies = broken_case(Cause.TIMESTAMP_IN_SYSTEM, 3)
    prompts = [request_of(agent, body).prompt for body in bodies]
    for call, finding in findings_of(agent, bodies):
        before, after = (b"".join(prompts[number].raws) for number in (call - 1, call))
        byte = finding.prompt_byte
        assert before[:byte] == after[:byte]
        assert before[byte : byte + 1] != after[byte : byte + 1]
        assert finding.prompt_byte == sum(map(len, prompts[call].raws[: finding.segment])) + finding.segment_byte
        assert finding.tokens_lost == round((len(before) - byte) / 4)


def test_stable_conversations_that_run_at_once_raise_no_finding():
    rng = random.Random(20261121)
    linter = Linter(LintSettings(), bytes_per_token=4.0)
    agents = [Agent(rng) for _ in range(NUM_STABLE)]
    for agent in agents[1::2]:  # half of them are of one app: the same head, and some the same first words
        agent.api, agent.system, agent.tools = agents[1].api, agents[1].system, agents[1].tools
        agent.steps[0] = agents[1].steps[0] if rng.random() < 0.5 else agent.steps[0]
    waiting = [(agent, list(agent.bodies())) for agent in agents]
    steps = dict.fromkeys(Step, 0)
    while waiting:
        agent, bodies = rng.choice(waiting)
        followed = linter.follow(request_of(agent, bodies.pop(0)), now=0.0)
        assert followed.finding is None, followed.finding
        steps[followed.step] += 1
        waiting = [entry for entry in waiting if entry[1]]
    assert steps[Step.NEW] <= NUM_STABLE  # one that begins like another repeats it, and is new when it goes on
    assert steps[Step.EXTENDS] >= NUM_STABLE * 3


@pytest.mark.parametrize("seed", range(20))
def test_branches_of_a_conversation_raise_no_finding(seed):
    """A branch repeats the turns up to some call, and goes on with answers of its own, each call seen or not."""
    rng = random.Random(seed)
    agent = Agent(rng)
    twin = Agent(rng, agent.api)
    twin.session, twin.model, twin.system, twin.tools = agent.session, agent.model, agent.system, agent.tools
    twin.separators = agent.separators
    shared = rng.choice(agent.ends[:-1])
    twin.steps = [*agent.steps[:shared], *twin.steps[1:]]
    twin.ends = [shared + end for end in twin.ends]
    calls = [(agent, body) for body in agent.bodies()] + [(twin, body) for body in twin.bodies() if rng.random() < 0.7]
    linter = Linter(LintSettings(), bytes_per_token=4.0)
    assert [linter.check(request_of(owner, body), now=0.0) for owner, body in calls] == [None] * len(calls)
