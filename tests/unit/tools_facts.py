"""A gateway's facts for tests of what it tells of itself."""

import msgspec

from turnwise.tools_gateway.export.meter import CallMeter
from turnwise.tools_gateway.export.sources import Sources
from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.upstreams import SessionFacts, State
from turnwise.tools_gateway.values import Fate, Load, Marks, Tool, ToolKey, ToolState, UpstreamName


def tool(name="read", upstream="files", **rest):
    """A tool as the registry has it."""
    key = ToolKey(UpstreamName(upstream), name)
    given = {"definition": {}, "pin": "0", "marks": Marks(), "state": ToolState.READY} | rest
    return Tool(f"{upstream}__{name}", key, **given)


def session(upstream="files", state="up", **rest):
    """A session as the upstreams tell of it."""
    given = {"num_dials": 1, "num_faults": 0, "in_flight": 0, "last_fault": "", "next_dial_s": 0.0, "pid": None}
    return SessionFacts(UpstreamName(upstream), "0a1b2c3d", State(state), "2026-07-28", **given | rest)


class FakeLoads:
    """Loads as they are set."""

    def __init__(self):
        self.by_key = {}
        self.num_bytes = 0

    def loads(self):
        return self.by_key

    def memory_bytes(self):
        return self.num_bytes


class Gateway:
    """All that a page is made of; each part is set by the test."""

    def __init__(self):
        self.now = 1000.0
        self.meter = CallMeter(clock=lambda: self.now)
        self.table = RunTable()
        self.loads = FakeLoads()
        self.tools = [tool("read"), tool("write"), tool("fetch", "web", state=ToolState.DRIFTED, why="its definition changed")]
        self.sessions = [session(), session("web", state="down", num_dials=4, last_fault="refused", next_dial_s=2.5)]
        self.complaints = []
        self.num_audit_failures = 0
        self.num_notices_dropped = 0

    @property
    def sources(self):
        return Sources(
            meter=self.meter,
            table=self.table,
            loads=self.loads,
            tools=lambda: self.tools,
            sessions=lambda: self.sessions,
            complaints=lambda: self.complaints,
            audit_failures=lambda: self.num_audit_failures,
            notices_dropped=lambda: self.num_notices_dropped,
            clock=lambda: self.now,
        )

    def busy(self, of, running, queued=0):
        self.loads.by_key[of.key] = Load(running, queued)

    def ran(self, of, seconds, num=40):
        for _ in range(num):
            self.table.observe(of.key, 10, seconds, Fate.SUCCESS, self.now)


def row(page, name):
    """The row of a tool, as a mapping."""
    (found,) = [each for each in page.tools if each.name == name]
    return msgspec.to_builtins(found)
