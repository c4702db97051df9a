"""What is kept of one program: its finished calls packed, and its sums, so that a row of the list costs no look at them."""

from __future__ import annotations

from array import array

import msgspec

from turnwise.proxy.programs.values import Call, EngineTimes, Key, Outcome, Summary
from turnwise.types import CallId

_ARRAY_32 = b"\xdd"
"""How MessagePack begins an array whose length is the next four bytes."""

_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(tuple[Call, ...])
_call = msgspec.msgpack.Decoder(Call)


class Record:
    """One program while it lives: about 600 bytes, and 300 a finished call.

    A call is `started` and later `add`ed, once each. Its record is kept as MessagePack, one behind the other.
    """

    __slots__ = (
        "_ends",
        "_packed",
        "active_at",
        "cached_tokens",
        "completion_tokens",
        "key",
        "model",
        "num_agents",
        "num_tools",
        "prompt_tokens",
        "running",
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.running = 0
        """Calls in flight."""
        self.num_agents = 0
        self.num_tools = 0
        """Tool calls that its answers hold."""
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.model = ""
        """That of the newest call which names one."""
        self.active_at = key.started_at
        """When a call last began or ended."""
        self._packed = bytearray()
        self._ends = array("I")
        """Where each call ends in what is packed."""

    @property
    def num_calls(self) -> int:
        """Calls that have ended."""
        return len(self._ends)

    def started(self, agent: int, now: float) -> None:
        """A call of conversation `agent` begins."""
        self.running += 1
        self.active_at = now
        if agent >= self.num_agents:
            self.num_agents = agent + 1

    def add(self, call: Call) -> None:
        """A call has ended."""
        self.running -= 1
        self.active_at = call.times.ended
        self.num_tools += len(call.tools)
        self.prompt_tokens += call.prompt_tokens
        self.cached_tokens += call.cached_tokens or 0
        self.completion_tokens += call.completion_tokens or 0
        if call.model is not None and call.model != self.model:
            self.model = call.model
        packed = self._packed
        _encoder.encode_into(call, packed, -1)
        self._ends.append(len(packed))

    def calls(self) -> tuple[Call, ...]:
        """The finished calls, in the order of their ends."""
        return _calls.decode(b"".join((_ARRAY_32, len(self._ends).to_bytes(4), self._packed)))

    def replace_engine_times(self, call_id: CallId, times: EngineTimes) -> bool:
        """Put down what the engine says of a finished call; returns False where there is no such call."""
        packed, ends = self._packed, self._ends
        name = _encoder.encode(call_id)
        for number in range(len(ends) - 1, -1, -1):  # an engine tells of a call soon after its end
            start, end = ends[number - 1] if number else 0, ends[number]
            if packed.find(name, start, end) < 0:
                continue
            call = _call.decode(memoryview(packed)[start:end])
            if call.call_id != call_id:
                continue  # it is only linked with it
            packed[start:end] = _encoder.encode(msgspec.structs.replace(call, engine=times))
            grown = len(packed) - ends[-1]
            for later in range(number, len(ends)):
                ends[later] += grown
            return True
        return False

    def summary(self, now: float, *, outcome: Outcome = Outcome.OPEN, waiting: int = 0) -> Summary:
        """The program's row of the list; `waiting` is how many of its tool calls wait for their results."""
        key = self.key
        return Summary(
            key.id,
            key.name,
            key.tenant,
            key.session,
            key.basis,
            outcome,
            self.model,
            now - key.started_at,
            now - self.active_at,
            self.running,
            waiting,
            self.num_calls,
            self.num_tools,
            self.num_agents,
            self.prompt_tokens,
            self.cached_tokens,
            self.completion_tokens,
            key.trace_id.hex(),
        )
