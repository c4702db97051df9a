"""What live programs take in memory: at most 2 KB each, and 150 bytes a block."""

from __future__ import annotations

import gc
import tracemalloc
from random import Random

import msgspec
from msgspec.structs import replace
from tests.unit.agents import World, says, user
from tests.unit.graph_talk import Turns, outcome, request, said

from turnwise.proxy.programs import Programs
from turnwise.proxy.programs.graph import blocks
from turnwise.settings import ProgramSettings, TraceSettings
from turnwise.turns import ToolCall
from turnwise.types import CallId, ProgramId, SegmentKind

SYSTEM, TOOLS, USER, ASSISTANT, TOOL = (SegmentKind(kind) for kind in ("system", "tools", "user", "assistant", "tool"))

MOMENTS = ("arrived", "read", "booked", "sent", "head", "first_token", "first_visible", "last_byte", "ended")


class Clients:
    """Agents that each ask, call a tool, bring its result, and so on; ids are as long and as different as real ones."""

    def __init__(self) -> None:
        self.programs = Programs(ProgramSettings(), TraceSettings())
        self._rng = Random(6)
        self._now = 1000.0

    def run(self, num_calls: int) -> ProgramId:
        """One program of so many calls; its id."""
        turns: Turns = [
            (TOOLS, '[{"type":"function"}]'),
            (SYSTEM, '{"role":"system","content":"help"}'),
            (USER, msgspec.json.encode({"role": "user", "content": f"goal {self._word()}"}).decode()),
        ]
        says = None
        for _ in range(num_calls):
            names = {"call_id": CallId(f"tw-0123456789ab{self._word()[:8]}"), "request_id": f"req-{self._word()[:20]}"}
            asked = replace(request(turns, says), **names, arrived_at=self._now, read_at=self._now)
            turn = self.programs.begin(asked, {b"authorization": b"Bearer key"}, self._now)
            assert turn is not None
            self._now += self._rng.random()
            tool = ToolCall(f"call_{self._word()}", "read_file", 40)
            says = said(self._word(), self._word())
            times = {
                f"{moment}_at": self._now + self._rng.random()
                for moment in (
                    "arrived",
                    "read",
                    "booked",
                    "sent",
                    "head",
                    "first_token",
                    "first_visible",
                    "last_byte",
                    "ended",
                )
            }
            done = replace(
                outcome(100 * len(turns), 40, says, (tool,)), **names, **times, response_id=f"chatcmpl-{self._word()}"
            )
            self.programs.settle(turn, done, self._now)
            called = {"role": "assistant", "content": None, "tool_calls": [{"id": tool.id}]}
            brought = {"role": "tool", "tool_call_id": tool.id, "content": self._word()}
            turns = [
                *turns,
                (ASSISTANT, msgspec.json.encode(called).decode()),
                (TOOL, msgspec.json.encode(brought).decode()),
            ]
        return turn.key.id

    def _word(self) -> str:
        return f"{self._rng.getrandbits(96):024x}"


def test_live_programs_take_two_kilobytes_each_and_150_bytes_a_block() -> None:
    tracemalloc.start()
    try:
        clients = Clients()
        names = [clients.run(4) for _ in range(100)] + [clients.run(40) for _ in range(10)]
        assert clients.programs.stats.live == len(set(names)) == 110
        num_blocks = 0
        for name in names:
            graph = clients.programs.graph(name)
            assert graph is not None
            num_blocks += len(blocks(graph))
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        del clients, graph
        gc.collect()
        num_bytes = held - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert num_blocks == 100 * (3 + 4 * 3 - 1) + 10 * (3 + 40 * 3 - 1)
    assert num_bytes <= 2048 * len(names) + 150 * num_blocks


def test_python_looks_at_nothing_of_a_program_for_garbage_while_its_call_runs_or_after() -> None:
    world = World()
    first = world.begin(user("Begin."))
    world.end(first, says("Done."))
    turn = world.begin(user("Begin."), says("Done."), user("Go on."), headers={"x-turnwise-program": "goal"})
    program = turn.program
    for thing in (turn, turn.node, turn.node.line, program, program.record, program.sketch, first, first.node, first.program):
        assert not gc.is_tracked(thing)
