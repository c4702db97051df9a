"""Compares policies on the demo's workload over embedded engines on a virtual clock: the figures of docs/decisions/0003.

    python bench/policies.py --seeds 12 "name=round_robin" "miss_weight=3,recent_weight=0.2"

Each argument is one configuration of `[policy]`. Equal arguments give equal output, whatever the machine.
"""

from __future__ import annotations

import argparse
import asyncio
from concurrent.futures import ProcessPoolExecutor
from statistics import fmean

import msgspec

from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.tool_choice import HEADER_TOOL_CALLS
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.demo.drive import Reply, chat_body
from turnwise.proxy.demo.fleet import MODEL, NUM_BLOCKS, NUM_REPLICAS, PRESET, SPEED
from turnwise.proxy.demo.workload import Program, programs
from turnwise.proxy.memory import MemoryProxy
from turnwise.settings import PolicySettings, Replica, Settings

DEFAULTS = ["name=round_robin", "name=least_request", "name=session_hash", "name=prefix", "name=kv_aware"]


class Result(msgspec.Struct, frozen=True):
    """One run: cached share of prompt tokens, first-token times in milliseconds."""

    cached: float
    first_token_mean_ms: float
    first_token_p99_ms: float


def main() -> None:
    """Run every configuration on every seed and print a table of means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", nargs="*", default=DEFAULTS, metavar="KEY=VALUE[,KEY=VALUE...]")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--programs", type=int, default=16)
    parser.add_argument("--live", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=NUM_BLOCKS, help="KV blocks of a replica (default: %(default)s)")
    args = parser.parse_args()
    print("| policy | cached | TTFT mean ms | p99 ms | over round robin |\n|---|---|---|---|---|")
    with ProcessPoolExecutor() as pool:

        def mean_of(configuration: str) -> Result:
            seeds = range(1, args.seeds + 1)
            runs = [pool.submit(run, configuration, seed, args.programs, args.live, args.blocks) for seed in seeds]
            done = [future.result() for future in runs]
            return Result(
                cached=fmean(result.cached for result in done),
                first_token_mean_ms=fmean(result.first_token_mean_ms for result in done),
                first_token_p99_ms=fmean(result.first_token_p99_ms for result in done),
            )

        baseline = mean_of("name=round_robin")
        for configuration in args.configurations:
            result = mean_of(configuration)
            ratio = result.first_token_mean_ms / baseline.first_token_mean_ms
            print(
                f"| {configuration} | {result.cached:.3f} | {result.first_token_mean_ms:.1f} "
                f"| {result.first_token_p99_ms:.0f} | {ratio:.2f} |",
                flush=True,
            )


def run(configuration: str, seed: int, num_programs: int, live: int, num_blocks: int) -> Result:
    """Play one workload under one configuration on a virtual clock."""
    chosen = dict(field.split("=", 1) for field in configuration.split(","))
    return run_virtual(_run(msgspec.convert(chosen, PolicySettings, strict=False), seed, num_programs, live, num_blocks))


async def _run(policy: PolicySettings, seed: int, num_programs: int, live: int, num_blocks: int) -> Result:
    replicas = tuple(Replica(url=f"http://sim:{9000 + number}", name=f"r{number}") for number in range(NUM_REPLICAS))
    options = SimOptions(model=MODEL, preset=PRESET, speed=SPEED, num_blocks=num_blocks)
    lines: list[dict[str, object]] = []
    gate = asyncio.Semaphore(live)
    async with MemoryProxy(Settings(replicas=replicas, policy=policy), options) as proxy:

        async def one(program: Program) -> None:
            await asyncio.sleep(program.starts_after_s)
            async with gate:
                await _play(proxy, program, lines)

        await asyncio.gather(*(one(program) for program in programs(num_programs, seed)))
    return _result(lines)


async def _play(proxy: MemoryProxy, program: Program, lines: list[dict[str, object]]) -> None:
    messages = [*program.agent.head, {"role": "user", "content": program.goal}]
    for number, turn in enumerate(program.turns, 1):
        num_tools = 0 if number == len(program.turns) else 1
        headers = ((HEADER_TOOL_CALLS.encode(), b"%d" % num_tools),)
        client = await proxy.call(chat_body(MODEL, program, messages, num_tools=num_tools), headers=headers)
        lines.append(proxy.recorder.recent[-1])
        reply = Reply()
        for line in client.body.splitlines():
            reply.feed(line)
        called = reply.message.get("tool_calls", [])
        if not called:
            return
        await asyncio.sleep(turn.tool_s)
        messages.append(reply.message)
        messages.extend({"role": "tool", "tool_call_id": call["id"], "content": turn.result} for call in called)


def _result(lines: list[dict[str, object]]) -> Result:
    waits = sorted(float(str(line["first_token_ms"])) for line in lines)
    usages = [msgspec.to_builtins(line["usage"]) for line in lines]
    return Result(
        cached=sum(usage["cached_tokens"] for usage in usages) / sum(usage["prompt_tokens"] for usage in usages),
        first_token_mean_ms=fmean(waits),
        first_token_p99_ms=waits[int(len(waits) * 0.99) - 1],
    )


if __name__ == "__main__":
    main()
