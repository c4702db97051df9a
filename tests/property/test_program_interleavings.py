"""Random agents in any interleaving: no tenant sees another's, every turn can be ended, bounds hold, and lineage is right."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.unit.agents import World, calls, links, result, says, user

from turnwise.proxy.programs.population import KEPT_ENDED, SETTLES_WITHIN_S
from turnwise.proxy.programs.values import Outcome

SYSTEMS = ("You help.", "You code.")
TASKS = ("Go.", "List the files of this folder.", "Count the lines of all files here, please.")
HEADERS = (
    "x-turnwise-program", "x-session-id", "x-parent-session-id", "x-claude-code-agent-id", "baggage", "traceparent",
    "x-codex-turn-metadata", "x-stainless-retry-count",
)  # fmt: skip
TRACE = "00-7086d6786c09fa5f1b4b836284833701-945e8cf907538955-0"
VALUES = ("a", "b", "1", "program.id=a", f"{TRACE}1", f"{TRACE}0", '{"root_turn_id": "a"}', "", "x" * 300, "\x01", "%00", "{")


class Agent:
    """One conversation of one tenant, with ids of its own."""

    def __init__(self, number: int, tenant: str, system: str, task: str) -> None:
        self.number = number
        self.tenant = tenant
        self.system = {"role": "system", "content": system}
        self.turns = [user(task)]
        self.last = None
        self.answer = None


class Interleaving(RuleBasedStateMachine):
    """Agents that take turns as they like."""

    @initialize(max_programs=st.integers(1, 6), quiet_s=st.sampled_from([1.0, 60.0]))
    def start(self, max_programs, quiet_s):
        self.world = World(max_programs=max_programs, quiet_s=quiet_s, max_age_s=500.0, max_calls=16)
        self.max_programs = max_programs
        self.agents = []
        self.running = []
        self.tenant_of = {}
        self.told = []

    @rule(tenant=st.sampled_from(["", "one", "two"]), system=st.sampled_from(SYSTEMS), task=st.sampled_from(TASKS))
    def join(self, tenant, system, task):
        self.agents.append(Agent(len(self.agents), tenant, system, task))

    @rule(data=st.data(), headers=st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(VALUES), max_size=3))
    def begin(self, data, headers):
        if not self.agents:
            return
        agent = data.draw(st.sampled_from(self.agents))
        if agent.tenant:
            headers["authorization"] = agent.tenant
        turn = self.world.begin(*agent.turns, system=agent.system, headers=headers)
        for other in [turn.key.id, *(link.program or turn.key.id for link in turn.links)]:
            assert self.tenant_of.setdefault(other, turn.key.tenant) == turn.key.tenant
        self.running.append((agent, turn))

    @rule(data=st.data(), kind=st.sampled_from(["text", "tool", "fail", "gone", "drop"]), is_next=st.booleans())
    def end(self, data, kind, is_next):
        if not self.running:
            return
        agent, turn = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        name = f"call_{agent.number}_{len(agent.turns)}"
        answer = says(f"Said {len(agent.turns)}.") if kind == "text" else calls((name, "run"), prompt=TASKS[-1])
        if kind == "drop":
            call = self.world.programs.drop(turn, "queue_full", self.world.now)
        elif kind in {"fail", "gone"}:
            call = self.world.end(turn, status=500 if kind == "fail" else 200, is_complete=kind == "fail")
        else:
            call = self.world.end(turn, answer)
            if is_next:
                agent.turns += [answer, user("And?") if kind == "text" else result(name)]
        assert call.call_id == turn.call_id
        assert call.is_final is (kind == "text")

    @rule(step=st.floats(0, 700))
    def wait(self, step):
        self.world.now += step
        told = self.world.programs.sweep(self.world.now)
        settling = {turn.key.id for _, turn in self.running if turn.node.began_at > self.world.now - SETTLES_WITHIN_S}
        assert not {ended.key.id for ended in told} & settling
        self.told += told

    @rule(data=st.data())
    def end_one(self, data):
        rows = self.world.programs.listing(self.world.now)
        if rows:
            row = data.draw(st.sampled_from(rows))
            assert self.world.programs.end(row.id, self.world.now) is (row.outcome is Outcome.OPEN)

    @invariant()
    def bounds_hold(self):
        rows = self.world.programs.listing(self.world.now)
        live = [row for row in rows if row.outcome is Outcome.OPEN]
        assert len(live) == self.world.programs.stats.live <= self.max_programs
        assert len(rows) <= self.max_programs + KEPT_ENDED
        assert all(row.running >= 0 and row.waiting >= 0 for row in rows)
        assert len({row.id for row in rows}) == len(rows)

    @invariant()
    def what_is_followed_is_kept(self):
        population = self.world.programs._population
        for tenant in population._tenants.values():
            known = [*tenant.live.values(), *tenant.ended.values()]
            nodes = {node for program in known for line in program.lines for node in line.nodes}
            assert sum(len(node.tools) for node in nodes) == sum(program.waiting for program in known)
            for index in ("_by_prompt", "_by_turns", "_by_state", "_by_tool"):
                for entry in getattr(tenant.lineage, index).values():
                    assert nodes.issuperset(entry if isinstance(entry, list) else [entry])

    def teardown(self):
        if not hasattr(self, "world"):
            return
        for _, turn in self.running:
            self.world.end(turn, says("At last."))
        self.told += self.world.programs.close(self.world.now)
        assert len({ended.key.id for ended in self.told}) == len(self.told) == len(self.tenant_of)


Interleaving.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestInterleaving = Interleaving.TestCase


@settings(max_examples=60, deadline=None)
@given(
    order=st.lists(st.integers(0, 5), min_size=10, max_size=60),
    tenants=st.lists(st.sampled_from(["one", "two"]), min_size=6, max_size=6),
)
def test_agents_that_open_alike_are_told_apart_in_any_interleaving(order, tenants):
    world = World()
    turns = [[user("Go.")] for _ in range(6)]
    last: dict[int, str] = {}
    programs: dict[int, str] = {}
    for agent in order:
        made = world.begin(*turns[agent], headers={"authorization": tenants[agent]})
        assert links(made) == ([("continue", last[agent])] if agent in last else [])
        assert made.key.id == programs.setdefault(agent, made.key.id)
        name = f"call_{agent}_{len(turns[agent])}"
        answer = calls((name, "run"))
        world.end(made, answer)
        turns[agent] += [answer, result(name)]
        last[agent] = made.call_id
    assert len(set(programs.values())) == len(programs)
