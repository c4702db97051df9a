"""A graph that is drawn late is the one that would have been drawn at once, and the same is given up."""

from __future__ import annotations

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.agents import SYSTEM, World, calls, result, user

from turnwise.proxy.programs import Programs, Turn
from turnwise.proxy.programs.graph import Block, BlockKind, blocks, lines
from turnwise.settings import ProgramSettings, TraceSettings
from turnwise.turns import Breakpoint, Hints
from turnwise.types import Digest, ProgramId, Usage

NAME = {"x-turnwise-program": "goal"}
HINTS = (None, None, Hints(breakpoints=(Breakpoint(0, 300.0), Breakpoint(1, 3600.0))), Hints(cache_key="app", priority=3))
RETENTIONS = ("", "", "", "", "session", "durable", "ephemeral")
STEPS = st.lists(
    st.tuples(
        st.sampled_from("ggggggggearfnb"),  # as `Twins.step` says
        st.integers(0, 9),
        st.sampled_from(HINTS),
        st.sampled_from(RETENTIONS),
        st.booleans(),
        st.sampled_from(["ended", "ended", "uncounted", "dropped", "runs on"]),
    ),
    min_size=1,
    max_size=24,
)


class Talk:
    """One conversation, as its client has it."""

    def __init__(self, turns: list[dict], system: dict = SYSTEM) -> None:
        self.turns, self.system = turns, system
        self.answer: dict | None = None


class Twins:
    """Two that are told the same: `early` draws each graph at once, `late` when it has to, and for who asks at the end."""

    def __init__(self) -> None:
        self.world = World()
        self.early, self.late = self.world.programs, Programs(ProgramSettings(), TraceSettings())
        self.talks = [Talk([user("Begin.")])]
        self.running: list[tuple[Talk, Turn, Turn]] = []
        self.given_up: tuple[set[Digest], set[Digest]] = (set(), set())

    def step(self, what: str, who: int, hints: Hints | None, retention: str, *, is_named: bool) -> None:
        """An agent makes its next call."""
        talk = self.talks[who % len(self.talks)]
        number = len(self.running) + len(talk.turns)
        match what:
            case "g" if talk.answer is not None:  # it goes on
                talk.turns = [*talk.turns, talk.answer, result(talk.answer["tool_calls"][0]["id"])]
            case "e" if talk.answer is not None:  # with other words in place of the answer
                talk.turns = [*talk.turns, {"role": "assistant", "content": f"edited {number}"}, user(f"So {number}?")]
            case "r":  # under another head
                talk.system = {"role": "system", "content": f"Now {number}."}
            case "f" | "n":  # it parts into two, or another one begins
                talk = Talk([*talk.turns, user(f"Fork {number}.")] if what == "f" else [user(f"Anew {number}.")], talk.system)
                self.talks.append(talk)
            case "b":  # it goes back
                talk.turns = talk.turns[:1]
            case _:  # it asks again
                pass
        talk.answer = None
        headers = {**(NAME if is_named else {}), **({"x-turnwise-retention": retention} if retention else {})}
        turn = self.world.begin(*talk.turns, system=talk.system, headers=headers)
        fields = {name.encode(): value.encode() for name, value in headers.items()}
        if hints is None:
            late = self.late.begin(turn.request, fields, self.world.now)
        else:  # hints stand in bodies of many shapes: as they are read
            self.early.drop(turn, "queue_full", self.world.now)
            self.late.drop(self.late.begin(turn.request, fields, self.world.now), "queue_full", self.world.now)
            request = msgspec.structs.replace(turn.request, call_id=f"{turn.call_id}'", hints=hints)
            turn = self.early.begin(request, fields, self.world.now)
            late = self.late.begin(request, fields, self.world.now)
        self.running.append((talk, turn, late))
        self.look()

    def end(self, how: str) -> None:
        """The call that has run for longest ends."""
        talk, turn, late = self.running.pop(0)
        if how == "dropped":
            self.early.drop(turn, "queue_full", self.world.now)
            self.late.drop(late, "queue_full", self.world.now)
        else:
            number = len(self.talks) + len(talk.turns)
            answer = calls((f"call_{number}_{self.world.now}", "run"), text=f"Said {number}.", path=f"file {number}")
            made = self.world.outcome(turn, answer, None if how == "uncounted" else Usage(len(turn.request.body), 9))
            self.early.settle(turn, made, self.world.now)
            self.late.settle(late, made, self.world.now)
            talk.answer = answer
        self.look()

    def look(self) -> None:
        """Have the one draw, and take what both have given up, as is done every second."""
        for program in self.early._population.known():
            if program.sketch.graph is None:
                program.sketch.draw(program.record)
        self.take_given_up()

    def take_given_up(self) -> None:
        for programs, found in zip((self.early, self.late), self.given_up, strict=True):
            for retired in programs.take_retired():
                found.update(retired.digests[retired.kept :])


@settings(max_examples=150, deadline=None)
@given(STEPS, st.booleans())
@example(  # what was hinted durable is hinted to be the session's
    [("g", 0, HINTS[2], "", False, "ended"), ("a", 0, None, "", False, "dropped"), ("g", 0, None, "session", False, "ended")],
    False,
)
def test_a_graph_drawn_late_is_as_one_drawn_at_once(steps, asks_after_the_end):
    twins = Twins()
    for *step, is_named, how in steps:
        twins.step(*step, is_named=is_named)
        if how != "runs on":
            twins.end(how)
    while twins.running:
        twins.end("ended")
    programs = [summary.id for summary in twins.early.listing(twins.world.now)]
    assert programs == [summary.id for summary in twins.late.listing(twins.world.now)]
    if not asks_after_the_end:
        check(twins, programs)
    for one in (twins.early, twins.late):
        for _ in programs:
            one.sweep(twins.world.now + 1e6)
    check(twins, programs)
    twins.take_given_up()
    early, late = twins.given_up
    if any(has_history(twins, program) for program in programs):
        assert early <= late  # turns from before a program are one row of its graph, and are given up one by one without it
    else:
        assert early == late


def has_history(twins: Twins, program: ProgramId) -> bool:
    return any(block.kind is BlockKind.HISTORY for block in blocks(twins.early.graph(program)))


def check(twins: Twins, programs: list) -> None:
    for program in programs:
        (_, done), early, late = twins.late.calls(program), twins.early.graph(program), twins.late.graph(program)
        assert [untold(block) for block in blocks(late, done)] == [untold(block) for block in blocks(early, done)]
        assert lines(late) == lines(early)


def untold(block: Block) -> Block:
    """Without its tokens, which until an engine has counted are estimated by what had been learned when it was drawn."""
    return msgspec.structs.replace(block, tokens=0)
