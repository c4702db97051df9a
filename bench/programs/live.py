"""Ten thousand live programs, made of calls that are read and settled with nothing between."""

from __future__ import annotations

from bench.programs import short

from turnwise.dialects import ROUTES
from turnwise.proxy.programs import Programs
from turnwise.proxy.reading import Reader
from turnwise.proxy.wire.ports import RawRequest
from turnwise.settings import Edits, Settings
from turnwise.turns import ToolCall
from turnwise.types import Hit, HitSource, Outcome, Placement, ReplicaId, Request, Terms, Usage

NUM_PROGRAMS, NUM_TURNS = 10_000, 4
PATH = "/v1/chat/completions"
HEADERS = ((b"host", b"localhost"), (b"authorization", b"Bearer key"), (b"content-type", b"application/json"))
HOW = f"{NUM_PROGRAMS:,} programs of {NUM_TURNS} calls each, tool calls and their results among them, read from bodies of 1 KB."


class Clients:
    """Agents that have made their calls, all within the quiet time of a program."""

    def __init__(self, seed: int, num_programs: int = NUM_PROGRAMS) -> None:
        self.programs = Programs(Settings().programs, Settings().traces)
        self.now = 1000.0
        self._reader = Reader(Edits())
        self._route = ROUTES[PATH]
        for one in short.conversations(seed, num_programs, NUM_TURNS):
            for number, body in enumerate(one.bodies(), start=1):
                self._call(body, number)

    def _call(self, body: bytes, number: int) -> None:
        self.now += 0.001
        raw = RawRequest(
            method="POST",
            target=PATH,
            headers=HEADERS,
            body=body,
            arrived_at=self.now,
            read_at=self.now,
            fields=dict(HEADERS),
        )
        request = self._reader.read(raw, self._route, f"request-{self.now:.3f}")
        turn = self.programs.begin(request, raw.fields, self.now)
        assert turn is not None
        tools = (ToolCall(f"call_{number}", "read_file", 16),) if number < NUM_TURNS else ()
        self.programs.settle(turn, _outcome(request, self.now, tools), self.now + 0.5)


def _outcome(request: Request, now: float, tools: tuple[ToolCall, ...]) -> Outcome:
    return Outcome(
        call_id=request.call_id,
        request_id=request.request_id,
        dialect=request.dialect,
        model=request.model,
        max_tokens=request.max_tokens,
        num_choices=1,
        is_stream=False,
        unhashed_bytes=0,
        arrived_at=request.arrived_at,
        read_at=request.read_at,
        placement=Placement(ReplicaId("r0"), "kv_aware", "lowest_cost", 250, True, Hit(128, HitSource.CONFIRMED), Terms()),
        attempt=1,
        status=200,
        is_complete=True,
        has_started=True,
        is_client_gone=False,
        fault=None,
        usage=Usage(250, 40, 128),
        finish_reason="tool_calls" if tools else "stop",
        booked_at=now + 0.01,
        sent_at=now + 0.011,
        head_at=now + 0.1,
        first_byte_at=now + 0.1,
        first_token_at=now + 0.2,
        first_visible_at=now + 0.2,
        last_byte_at=now + 0.49,
        ended_at=now + 0.5,
        body_bytes=900,
        tool_calls=tools,
        response_id=f"chatcmpl-{request.call_id}",
    )
