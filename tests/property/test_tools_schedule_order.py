"""Random queues: no bound is passed, no slot is idle while somebody may have it, and nobody starves."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.unit.test_tools_schedule import ticket

from turnwise.tools_gateway.schedule import Schedule, rank
from turnwise.tools_gateway.values import ToolFault

MOMENTS = st.floats(0, 1e6)
TOOL_BOUNDS = {"t": 1, "u": 2, "v": 9}
LANE_BOUNDS = {"up": 3, "other": 2, "single": 1}


@given(MOMENTS, st.floats(0, 1e4), MOMENTS, st.floats(0, 1e4))
def test_nobody_is_overtaken_by_a_call_that_came_later_than_it_was_expected_to_take(at, expected_s, other_at, other_s):
    if other_at > at + expected_s:
        assert rank(at, expected_s) < rank(other_at, other_s)


class Queue(RuleBasedStateMachine):
    """A schedule against the bare rules."""

    @initialize(max_queued=st.integers(0, 6), max_tenant=st.integers(1, 5))
    def start(self, max_queued, max_tenant):
        self.schedule = Schedule(max_queued=max_queued, max_tenant_running=max_tenant)
        self.max_tenant = max_tenant
        self.running = []
        self.waiting = []
        self.now = 0.0

    def begun(self, started):
        for each in started:
            assert each in self.waiting
            # Among those who may run in its place, the best goes first.
            rivals = [other for other in self.waiting if (other.credential, other.tool) == (each.credential, each.tool)]
            assert (each.is_early, each.rank) == min((other.is_early, other.rank) for other in rivals)
            self.waiting.remove(each)
            self.running.append(each)

    @rule(
        tool=st.sampled_from(list(TOOL_BOUNDS)),
        upstream=st.sampled_from(list(LANE_BOUNDS)),
        tenant=st.sampled_from(["a", "b"]),
        expected_s=st.sampled_from([0.0, 0.1, 1.0, 30.0]),
        is_early=st.booleans(),
    )
    def enter(self, tool, upstream, tenant, expected_s, is_early):
        self.now += 0.5
        bounds = {"max_running": LANE_BOUNDS[upstream], "max_tool_running": TOOL_BOUNDS[tool]}
        new = ticket(expected_s, at=self.now, tool=tool, upstream=upstream, tenant=tenant, is_early=is_early, **bounds)
        try:
            is_running = self.schedule.enter(new)
        except ToolFault:
            return
        (self.running if is_running else self.waiting).append(new)

    @rule(data=st.data())
    def leave(self, data):
        if self.running:
            self.begun(self.schedule.leave(self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))))

    @rule(data=st.data())
    def give_up(self, data):
        if self.waiting:
            assert self.schedule.leave(self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))) == []

    @rule(data=st.data())
    def promote(self, data):
        early = [each for each in (*self.waiting, *self.running) if each.is_early]
        if early:
            self.begun(self.schedule.promote(data.draw(st.sampled_from(early))))

    def room(self, each, spare):
        lane = [other for other in self.running if other.credential == each.credential]
        return (
            len(lane) + spare < each.max_running
            and sum(other.tool == each.tool for other in lane) + spare < each.max_tool_running
            and sum(other.tenant == each.tenant for other in self.running) + spare < self.max_tenant
        )

    @invariant()
    def no_bound_is_passed(self):
        for each in self.running:
            assert self.room(each, -1)

    @invariant()
    def nobody_waits_who_may_run(self):
        for each in self.waiting:
            assert not self.room(each, 1 if each.is_early else 0)

    @invariant()
    def counts_agree(self):
        loads = self.schedule.loads()
        assert sum(load.running for load in loads.values()) == len(self.running)
        assert sum(load.queued for load in loads.values()) == len(self.waiting)

    def teardown(self):
        while self.running:
            self.begun(self.schedule.leave(self.running.pop()))
        # What is left is early and would need a second slot where there is one.
        assert all(each.is_early and min(each.max_running, each.max_tool_running, self.max_tenant) < 2 for each in self.waiting)


TestQueue = Queue.TestCase
