"""Agents that talk to `Programs` through the real chat dialect, one call at a time."""

from __future__ import annotations

import itertools
import json

import msgspec
from tests.unit.captured_programs import answer_body, outcome_of

from turnwise.dialects import DIALECTS, match
from turnwise.events import ToolEvent
from turnwise.proxy.programs import Programs, Turn
from turnwise.proxy.programs.pauses import Pauses
from turnwise.proxy.programs.values import Told
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits, ProgramSettings, TraceSettings
from turnwise.types import Outcome, Usage

PATH = "/v1/chat/completions"
SYSTEM = {"role": "system", "content": "You help with what is asked."}


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def says(text: str) -> dict:
    return {"role": "assistant", "content": text}


def calls(*tools: tuple[str, str], text: str | None = None, **arguments: str) -> dict:
    """An answer that calls tools, given as id and name."""
    function = {"arguments": json.dumps(arguments)}
    made = [{"id": id_, "type": "function", "function": {"name": name, **function}} for id_, name in tools]
    return {"role": "assistant", "content": text, "tool_calls": made}


def result(tool_call_id: str, text: str = "done") -> dict:
    return {"role": "tool", "tool_call_id": tool_call_id, "content": text}


class World:
    """Programs, and a clock that goes on by a second with all that happens."""

    def __init__(self, traces: TraceSettings | None = None, pauses: Pauses | None = None, **settings) -> None:
        self.programs = Programs(ProgramSettings(**settings), traces or TraceSettings(), pauses=pauses)
        self.now = 0.0
        self._reader = Reader(Edits(include_usage=False))
        self._numbers = itertools.count()

    def begin(self, *turns: dict, system: dict | None = SYSTEM, headers: dict | None = None, **members) -> Turn:
        """A call of these turns begins; `members` are further ones of its body."""
        self.now += 1
        said = list(turns) if system is None else [system, *turns]
        body = json.dumps({"model": "m", "messages": said, **members}).encode()
        fields = {name.encode(): value.encode("latin-1") for name, value in (headers or {}).items()}
        raw = RawRequest("POST", PATH, tuple(fields.items()), body, self.now, self.now, fields)
        request = self._reader.read(raw, match("POST", PATH), f"request-{next(self._numbers)}")
        turn = self.programs.begin(request, fields, self.now)
        assert turn is not None
        return turn

    def end(self, turn: Turn, answer: dict | None = None, usage: Usage | None = None, **outcome):
        """It is answered; `outcome` is how that ends where it is not well."""
        return self.programs.settle(turn, self.outcome(turn, answer, usage, **outcome), self.now)

    def outcome(self, turn: Turn, answer: dict | None = None, usage: Usage | None = None, **outcome) -> Outcome:
        """What becomes of it, a second later."""
        self.now += 1
        request = turn.request
        tap = None
        if answer is not None:
            tap = DIALECTS[request.dialect].tap(wants_answer=True)
            tap.on_head(200, is_stream=False)
            tap.feed(answer_body(request.dialect, [answer], "resp"), self.now)
            tap.close(self.now)
        return msgspec.structs.replace(outcome_of(request, self.now, tap, **outcome), usage=usage)

    def call(self, *turns: dict, answer: dict, **begin) -> Turn:
        """A call from its beginning to its end."""
        turn = self.begin(*turns, **begin)
        self.end(turn, answer)
        return turn

    def tool_event(self, turn: Turn, tool_call_id: str, *times: float, ok: bool = True) -> bool:
        """A gateway tells of a tool run, queued, started and ended at these times."""
        return self.programs.tool_event(ToolEvent(tool_call_id, *times, ok=ok), turn.key.id) is Told.TAKEN


def links(turn: Turn) -> list[tuple[str, str]]:
    """What a call depends on: kind and call id."""
    return [(link.kind.value, link.call_id) for link in turn.links]
