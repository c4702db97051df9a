"""The session graph against a naive one: a dict of all prefixes of all prompts, whatever agents do with their conversations."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.graph_talk import RATE, begun, ended, outcome, request, said

from turnwise.proxy.programs.graph import Block, BlockKind, Graph, State, blocks
from turnwise.types import Answer, Digest, SegmentKind

SYSTEM, USER, ASSISTANT, TOOL = SegmentKind.SYSTEM, SegmentKind.USER, SegmentKind.ASSISTANT, SegmentKind.TOOL
Turn = tuple[SegmentKind, str]


class Agent:
    """A client's view of one conversation."""

    def __init__(self, number: int, turns: list[Turn]) -> None:
        self.number = number
        self.turns = turns
        self.answer: tuple[str, Answer] | None = None
        """Not repeated yet."""
        self.says: Answer | None = None
        self.num_calls = 0
        self.has_repeated = False
        """Whether its next prompt repeats the answer as it was."""


class Naive:
    """Prompts as tuples of digests."""

    def __init__(self) -> None:
        self.prefixes: dict[Digest, SegmentKind] = {}
        self.counted: dict[Digest, int] = {}
        self.tips: dict[int, tuple[Digest, ...]] = {}

    def live(self, open_agents: set[int]) -> set[Digest]:
        used = {digest for agent, path in self.tips.items() if agent in open_agents for digest in path}
        return used | {digest for digest, kind in self.prefixes.items() if kind is SYSTEM}


STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("aaaaffreds"), st.integers(1, 4), st.booleans()), min_size=1, max_size=40
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_the_graph_is_what_a_dict_of_all_prefixes_says(steps: list[tuple[int, str, int, bool]]) -> None:
    graph, naive = Graph(), Naive()
    agents = [Agent(0, [(SYSTEM, "you are"), (USER, "begin")])]
    for number, (who, what, size, is_counted) in enumerate(steps):
        agent = agents[who % len(agents)]
        match what:
            case "a" if agent.answer is not None:  # it goes on
                text, agent.says = agent.answer
                agent.has_repeated = True
                agent.turns = [*agent.turns, (ASSISTANT, text), *((TOOL, f"{number}/{at}" * size) for at in range(size))]
            case "f":  # another agent goes on from here as well
                turns = [*agent.turns, (USER, f"fork {number}")]
                agent = Agent(len(agents), turns)
                agents.append(agent)
            case "r":  # the head changes
                agent.turns = [(SYSTEM, f"now {number}"), *agent.turns[1:]]
            case "e" if agent.answer is not None:  # another answer is put in its place
                agent.says = said(text=f"edited {number}")
                agent.turns = [*agent.turns, (ASSISTANT, f"edited {number}"), (USER, f"so {number}")]
            case "d" if len(agent.turns) > 3:  # the oldest turns are compacted
                agent.turns = [agent.turns[0], (USER, f"in short {number}"), *agent.turns[-1:]]
                agent.says = None
            case "s":  # a conversation of its own
                agent = Agent(len(agents), [(SYSTEM, "you help"), (USER, f"task {number}" * size)])
                agents.append(agent)
        call(graph, naive, agent, number, size, is_counted=is_counted)
    check(graph, naive)


def call(graph: Graph, naive: Naive, agent: Agent, number: int, size: int, *, is_counted: bool) -> None:
    has_assistant = any(kind is ASSISTANT for kind, _ in agent.turns)
    asked = request(agent.turns, (agent.says or said(text="?")) if has_assistant else None)
    assert asked.chain is not None
    digests = asked.chain.digests
    num_tokens = sum(len(text) for _, text in agent.turns)
    graph.begin(begun(asked, agent.number, agent.num_calls), RATE)
    if agent.has_repeated:
        new = [block for block in blocks(graph) if (block.agent, block.turn) == (agent.number, agent.num_calls)]
        assert BlockKind.ASSISTANT not in {block.kind for block in new}, "an answer is there twice"
        agent.has_repeated = False
    text = f"answer {number} " * size
    parts = said(text, "calls" * (size % 2), "thought" * (size // 2 % 2))
    done = outcome(num_tokens if is_counted else None, len(text), parts, believed_tokens=num_tokens + 5)
    graph.settle(ended(agent.number, agent.num_calls, done), RATE)
    agent.num_calls += 1
    agent.answer = (text, parts)
    naive.prefixes.update(zip(digests, (kind for kind, _ in agent.turns), strict=True))
    if is_counted:
        naive.counted[digests[-1]] = num_tokens
    naive.tips[agent.number] = digests


def check(graph: Graph, naive: Naive) -> None:
    rows = graph.rows
    named = [row for row in range(len(rows)) if not rows.is_said(row)]
    digests = [Digest(rows.digest(row)) for row in named]
    assert len(digests) == len(set(digests)), "a shared beginning is there twice"
    assert set(digests) == set(naive.prefixes)
    shown = {block.number: block for block in blocks(graph)}
    for block in shown.values():
        assert block.parent is None or block.parent in shown
        assert block.parent is None or block.parent < block.number
    by_digest = {digest[:8].hex(): digest for digest in digests}
    for block in shown.values():
        digest = by_digest.get(block.digest)
        if digest in naive.counted:
            assert sum_up_to(shown, block.number) == naive.counted[digest]
    open_agents = {agent for agent in naive.tips if graph.lines.tip(agent) >= 0}
    live = naive.live(open_agents)
    for row, digest in zip(named, digests, strict=True):
        assert (rows.state(row) == 0) is (digest in live)
    retired = {digest for one in graph.take_retired() for digest in one.digests[one.kept :]}
    assert set(naive.prefixes) - live <= retired
    graph.end()
    assert {block.state for block in blocks(graph) if block.kind is not BlockKind.SYSTEM} <= {State.DEAD, State.SUPERSEDED}
    assert all(block.state is State.LIVE for block in blocks(graph) if block.kind is BlockKind.SYSTEM)


def sum_up_to(shown: dict[int, Block], number: int | None) -> int:
    total = 0
    while number is not None:
        block = shown[number]
        total += block.tokens
        number = block.parent
    return total
