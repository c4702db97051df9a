"""Random interleavings of proxies, agents and upstreams, against what must hold of every one of them."""

import asyncio
import json
from collections import Counter

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.unit.tool_runs_world import EARLY, READ, WRITE, World, tool

from turnwise.engines.sim.virtual_time import VirtualTimeLoop
from turnwise.tools_gateway.messages import How, Step, Void
from turnwise.tools_gateway.values import Caller, Fault, ToolFault

BOTH = msgspec.structs.replace(EARLY, is_shared=True, ttl_s=3.0)
TOOLS = {
    "look": EARLY,
    "both": BOTH,
    "shared": msgspec.structs.replace(READ, is_shared=True),
    "read": READ,
    "write": WRITE,
    "narrow": msgspec.structs.replace(EARLY, max_running=2),
}
TENANTS = ("a", "b")
ANSWERS = (
    *[None] * 8,
    {"isError": True},
    {"resultType": "input_required"},
    ToolFault(Fault.UPSTREAM_DOWN, "down"),
    ToolFault(Fault.UPSTREAM_BROKE, "gone"),
    ToolFault(Fault.UPSTREAM_REFUSED, "no", {"code": -32021}),
)
ARGUMENTS = st.fixed_dictionaries({"n": st.integers(0, 1), "s": st.sampled_from([0.0, 1.0, 1.0, 4.0, 20.0])})
NAMES = st.sampled_from(["look", "look", "look", "both", "both", "narrow", "shared", "read", "write", "elsewhere"])
PAUSES = st.sampled_from([0.0, 0.3, 1.0, 5.0, 40.0])


def canon(arguments):
    return json.dumps(arguments, sort_keys=True)


class Interleaving(RuleBasedStateMachine):
    """What was announced, asked and settled is kept beside what upstreams and agents saw of it."""

    @initialize(
        max_early=st.integers(1, 4),
        max_queued=st.integers(1, 4),
        max_running=st.integers(2, 5),
        held=st.sampled_from([700, 10**6, 10**6]),
    )
    def start(self, max_early, max_queued, max_running, held):
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        tools = [tool(name, marks) for name, marks in TOOLS.items()]
        limits = {
            "max_early": max_early,
            "max_queued": max_queued,
            "max_held_bytes": held,
            "claim_ttl_s": 10.0,
            "max_run_s": 30.0,
        }
        self.world = World(tools, tenants=TENANTS, max_running=max_running, **limits)
        for name in TOOLS:
            self.world.upstreams.answers[name] = [self.answer]
        self.sources = [object(), object()]
        self.turns = {}
        """By turn: its proxy, tenant and calls by index; how it ended."""
        self.verdicts = {}
        self.num_asked = 0
        self.asking = {}
        self.answers = {}
        """Results by their ask."""
        self.run(self.world.__aenter__())

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def tell(self, how, *args, **fields):
        """Have the gateway hear of something, within its loop."""

        async def heard():
            how(*args, **fields)

        self.run(heard())

    def let(self, seconds=0.0):
        """Let the loop do what is due within some time."""

        async def pause():
            await asyncio.sleep(seconds)
            for _ in range(5):
                await asyncio.sleep(0)

        self.run(pause())

    async def answer(self, ask):
        ask.given = self.next_answers.pop() if self.next_answers else None
        if isinstance(ask.given, ToolFault):
            raise ask.given
        # Each answer names its request.
        return {"ask": self.world.upstreams.asked.index(ask), **(ask.given or {})}

    next_answers = ()

    @rule(answers=st.lists(st.sampled_from(ANSWERS), max_size=3))
    def choose_answers(self, answers):
        self.next_answers = answers

    @rule(source=st.integers(0, 1), tenant=st.sampled_from(TENANTS), calls=st.lists(st.tuples(NAMES, ARGUMENTS), max_size=3))
    def begin_turn(self, source, tenant, calls):
        turn = f"t{len(self.turns)}"
        self.turns[turn] = (self.sources[source], tenant, {})
        for name, arguments in calls:
            self.write(turn, name, arguments, is_filled=True)

    @rule(data=st.data(), name=NAMES, arguments=ARGUMENTS, is_filled=st.booleans())
    def announce(self, data, name, arguments, is_filled):
        if self.turns:
            self.write(self.recent(data), name, arguments, is_filled=is_filled)

    def recent(self, data):
        """One of the last turns, where most things happen."""
        return data.draw(st.sampled_from(list(self.turns)[-3:]))

    def write(self, turn, name, arguments, *, is_filled):
        source, tenant, calls = self.turns[turn]
        index = len(calls)
        calls[index] = (name, arguments)
        trace = f"{turn}/{index}"
        self.tell(self.world.announce, name, turn, index, tenant=f"proxy-{tenant}", source=source, traceparent=trace)
        if is_filled:
            self.tell(self.world.fill, arguments, turn, index, source=source)

    @rule(data=st.data(), is_again=st.booleans())
    def tell_again(self, data, is_again):
        """The same call from the same or another proxy, the arguments once more or at last."""
        known = [(turn, index) for turn, (_, _, calls) in self.turns.items() for index in calls]
        if not known:
            return
        turn, index = data.draw(st.sampled_from(known))
        source, tenant, calls = self.turns[turn]
        name, arguments = calls[index]
        if is_again:
            source = data.draw(st.sampled_from(self.sources))
            trace = f"{turn}/{index}"
            self.tell(self.world.announce, name, turn, index, tenant=f"proxy-{tenant}", source=source, traceparent=trace)
        self.tell(self.world.fill, dict(reversed(arguments.items())), turn, index, source=source)

    @rule(data=st.data(), why=st.sampled_from([Void.DRIFT, Void.MALFORMED]))
    def void(self, data, why):
        known = [(turn, index) for turn, (_, _, calls) in self.turns.items() for index in calls]
        if known:
            turn, index = data.draw(st.sampled_from(known))
            self.world.source = self.turns[turn][0]
            if self.verdicts.get(turn) is None:
                self.verdicts[turn, index] = why
            self.tell(self.world.void, turn, index, why)

    @rule(data=st.data(), why=st.sampled_from([None, None, None, Void.LENGTH, Void.BROKEN]))
    def settle(self, data, why):
        self.settle_one(data, why)

    def settle_one(self, data, why):
        if self.turns:
            turn = self.recent(data)
            self.verdicts.setdefault(turn, "clean" if why is None else why)
            self.tell(self.world.settle, turn, why, source=self.turns[turn][0])

    @rule(source=st.integers(0, 1), does=st.sampled_from([False, False, True]))
    def disconnect(self, source, does):
        if not does:
            return
        gone = self.sources[source]
        for turn, (owner, _, calls) in self.turns.items():
            if owner is gone and calls:
                self.verdicts.setdefault(turn, Void.DISCONNECTED)
        self.tell(self.world.runs.disconnected, gone)

    @rule(tenant=st.sampled_from(TENANTS), name=st.sampled_from(list(TOOLS)), arguments=ARGUMENTS, goes_on=st.booleans())
    def ask(self, tenant, name, arguments, goes_on):
        self.begin_call(tenant, name, arguments, goes_on=goes_on)

    @rule(data=st.data(), is_settled=st.booleans())
    def ask_for_a_turn(self, data, is_settled):
        """As its agent does, all calls at once; mostly when the turn has ended."""
        if is_settled:
            self.settle_one(data, None)
        if self.turns:
            _, tenant, calls = self.turns[self.recent(data)]
            for name, arguments in calls.values():
                if name in TOOLS:
                    self.begin_call(tenant, name, arguments, goes_on=False)

    def begin_call(self, tenant, name, arguments, *, goes_on):
        number = self.num_asked
        self.num_asked += 1
        caller = Caller(request_state="x") if goes_on else None

        async def begin():
            # A trace of its own tells its runs from early ones, which have their announcement's.
            return self.world.asking(
                name, dict(arguments), tenant=tenant, meta={"traceparent": f"agent {number}"}, caller=caller
            )

        self.asking[number] = (self.run(begin()), tenant, name, arguments, goes_on)
        self.let()

    @rule(data=st.data())
    def cancel(self, data):
        going = [asking[0] for asking in self.asking.values() if not asking[0].done()]
        if going:
            data.draw(st.sampled_from(going)).cancel()
            self.let()

    @rule(seconds=PAUSES)
    def wait(self, seconds):
        self.let(seconds)

    def teardown(self):
        if not hasattr(self, "world"):
            return
        with self.runner:
            # Longer than anything may take: a wait for a turn, a queue, and the longest run.
            self.let(200.0)
            assert all(asking[0].done() for asking in self.asking.values())
            before = self.world.runs.loads()
            self.run(self.world.__aexit__())
            self.let()
            assert before == {}
        self.check_asks()
        self.check_results()
        self.check_audit()

    def check_asks(self):
        """No call runs twice, and none before its agent asks but marked ones."""
        runs = Counter()
        for ask in self.world.upstreams.asked:
            assert ask.fate != "running"
            by = ask.request.params["_meta"]["traceparent"]
            if isinstance(getattr(ask, "given", None), ToolFault) and ask.given.fault is Fault.UPSTREAM_DOWN:
                continue
            runs[by] += 1
            if not by.startswith("agent"):
                turn, index = by.split("/")
                _, tenant, calls = self.turns[turn]
                assert TOOLS[ask.tool].is_early
                assert (ask.tool, canon(ask.arguments)) == (calls[int(index)][0], canon(calls[int(index)][1]))
                assert ask.credential.id == f"up/{tenant}"
                # Nothing ran early behind a call that may have side effects.
                assert all(calls[before][0] in {"look", "both", "shared", "read", "narrow"} for before in range(int(index)))
        assert not runs or max(runs.values()) == 1

    def check_results(self):
        """Each agent got what its own call came to, or what it may have got of another's."""
        given = Counter()
        for number, (task, tenant, name, arguments, goes_on) in self.asking.items():
            if task.cancelled() or task.exception() is not None:
                assert task.cancelled() or isinstance(task.exception(), ToolFault)
                assert task.cancelled() or task.exception().fault is not Fault.BUG
                continue
            result = task.result()
            ask = self.world.upstreams.asked[result["ask"]]
            assert (ask.tool, canon(ask.arguments), ask.credential.id) == (name, canon(arguments), f"up/{tenant}")
            by = ask.request.params["_meta"]["traceparent"]
            if by == f"agent {number}":
                continue
            assert not goes_on
            assert "resultType" not in result
            if name in {"shared", "both"}:
                continue
            # An early run of a call whose turn ended cleanly, and nobody else's.
            assert not by.startswith("agent")
            turn, index = by.split("/")
            assert self.verdicts.get(turn) == "clean"
            assert (turn, int(index)) not in self.verdicts
            given[by] += 1
        assert not given or max(given.values()) == 1

    def check_audit(self):
        """Every early run of a turn that did not end cleanly is written down as void, and told as such."""
        voided = {record for record, _ in self.world.audit.of("voided")}
        for record, name, tenant, how, turn in self.world.audit.of("decided"):
            if how != How.EARLY:
                continue
            told = [told for (each, _), told in self.world.told.items() if each == turn]
            if self.verdicts.get(turn) != "clean":
                assert record in voided
            assert told
            assert tenant == self.turns[turn][1]
            assert TOOLS[name].is_early
        for (turn, _), told in self.world.told.items():
            assert told[0].step is Step.ANNOUNCED
            assert self.verdicts.get(turn) == "clean" or told[-1].step in {Step.VOID, Step.FINISHED}


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
