"""A trace through the whole proxy on a virtual clock: real steps, index and policy; engines and transports in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from turnwise.engines.sim.cost import PRESETS
from turnwise.engines.sim.fifo import FifoEngine, FifoOptions
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.memory import MemoryEngine, MemoryProxy, MemorySim
from turnwise.proxy.replay.bodies import SHORT_BYTES_PER_TOKEN, short_body, text_body
from turnwise.proxy.replay.drive import Pacing, play
from turnwise.proxy.replay.results import CallResult, ReplayError
from turnwise.proxy.replay.trace import Trace, TraceCall, TraceSession
from turnwise.settings import Fleet, IndexSettings, PolicySettings, Replica, Settings

EngineName = Literal["fifo", "default"]
MODEL = "sim"
SESSION_HEADER = b"x-session-affinity"
CHECK_INTERVAL_S = 60.0
"""Replicas in memory are always well; looking every two seconds would only cost time."""


class ReplicaSize(msgspec.Struct, frozen=True):
    """Cache and speed of one replica; the speed counts for the `fifo` engine only."""

    kv_tokens: int
    prefill_tokens_per_s: float


class VirtualFleet(msgspec.Struct, frozen=True):
    """The replicas that a trace is played on."""

    engine: EngineName
    replicas: tuple[ReplicaSize, ...]
    preset: str = "h100-8b"
    """Of the `default` engine: continuous batching in chunks, as `turnwise sim` has it."""
    decode_token_s: float = 0.02
    """Of the `fifo` engine."""


def replay_virtual(
    trace: Trace, fleet: VirtualFleet, policy: PolicySettings, pacing: Pacing, on_call: Callable[[CallResult], None]
) -> list[CallResult]:
    """Play a trace under one policy; results in the order in which calls came. Raises `ReplayError` where a call fails.

    Equal arguments give equal results, whatever the machine.
    """
    results = run_virtual(_replay(trace, fleet, policy, pacing, on_call))
    return sorted(results, key=lambda result: result.arrived_s)


async def _replay(
    trace: Trace, fleet: VirtualFleet, policy: PolicySettings, pacing: Pacing, on_call: Callable[[CallResult], None]
) -> list[CallResult]:
    is_short = fleet.engine == "fifo"
    write_body = short_body if is_short else text_body
    results: list[CallResult] = []
    async with MemoryProxy(_settings(fleet, policy), lambda number: _engine(fleet, number, trace.block_size)) as proxy:
        start = proxy.clock()

        async def send(session: TraceSession, call: TraceCall) -> None:
            arrived_at = proxy.clock()
            path = "/v1/completions" if not is_short and call.is_completion else "/v1/chat/completions"
            headers = ((SESSION_HEADER, session.name.encode()),)
            client = await proxy.call(write_body(call, MODEL, trace.block_size), path=path, headers=headers)
            if client.head is None or client.head.status != 200 or not client.is_finished:
                raise ReplayError(f"{session.name}: the fleet answered {client.body[:300]!r}")
            line = proxy.recorder.recent[-1]
            result = CallResult.of_line(line, call, arrived_s=arrived_at - start)
            results.append(result)
            on_call(result)

        await play(trace.sessions, pacing, send)
    return results


def _settings(fleet: VirtualFleet, policy: PolicySettings) -> Settings:
    settings = Settings(
        replicas=tuple(Replica(url=f"http://sim:{9000 + number}", name=f"r{number}") for number in range(len(fleet.replicas))),
        fleet=Fleet(check_interval_s=CHECK_INTERVAL_S),
        policy=policy,
    )
    if fleet.engine == "fifo":
        return msgspec.structs.replace(settings, index=IndexSettings(bytes_per_token=SHORT_BYTES_PER_TOKEN))
    return settings


def _engine(fleet: VirtualFleet, number: int, block_size: int) -> MemoryEngine:
    size = fleet.replicas[number]
    if fleet.engine == "fifo":
        options = FifoOptions(
            block_size=block_size,
            num_blocks=max(1, size.kv_tokens // block_size),
            prefill_tokens_per_s=size.prefill_tokens_per_s,
            decode_token_s=fleet.decode_token_s,
            model=MODEL,
        )
        return FifoEngine(options)
    num_blocks = max(1, size.kv_tokens // PRESETS[fleet.preset].block_size)
    # Prompts of a trace may be longer than the context of the model that the preset is named for.
    return MemorySim(SimOptions(model=MODEL, preset=fleet.preset, num_blocks=num_blocks, max_model_len=size.kv_tokens))
