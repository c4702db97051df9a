import asyncio
import json
from array import array
from pathlib import Path

import msgspec
import pytest
from tests.unit.sim_engine import LONG

from turnwise.engines.base import ReplayUnavailable
from turnwise.engines.sim import SimEngine, SimOptions, run_virtual
from turnwise.engines.sim.blocks import BlockOwner, Cleared, Removed, Stored
from turnwise.engines.sim.publisher import EventLog, InMemoryEventSource, encode_batch, encode_event
from turnwise.events import BlocksCleared, BlocksRemoved, BlocksStored

DATA = Path(__file__).parent.parent / "data" / "vllm-0.32"


def test_a_captured_batch_of_vllm_is_encoded_byte_for_byte():
    for line in (DATA / "kv_events_int_hashes.jsonl").read_text().splitlines():
        payload = bytes.fromhex(json.loads(line)["payload_hex"])
        time, (event,), rank = msgspec.msgpack.decode(payload)
        stored = Stored(
            hashes=tuple(event["block_hashes"]),
            parent=event["parent_block_hash"],
            first=0 if event["parent_block_hash"] is None else 1,
            tokens=array("I", event["token_ids"]),
            owner=BlockOwner("lab", salt=(event["extra_keys"][0] or [None])[0], session_id=event.get("session_id")),
        )
        assert encode_batch(time, [encode_event(stored, 32, {})], rank) == payload


def test_adapter_and_salt_are_told_as_vllm_tells_them():
    stored = Stored((1, 2), None, 0, array("I", range(8)), BlockOwner("m", lora="ad1", salt="S1"))
    event = encode_event(stored, 4, {"ad1": 1})
    assert (event["lora_id"], event["lora_name"], event["extra_keys"]) == (1, "ad1", [["ad1", "S1"], ["ad1"]])


def test_removals_and_clearing_are_told_as_vllm_tells_them():
    assert encode_event(Removed(5), 4, {}) == {"type": "BlockRemoved", "block_hashes": [5], "medium": "GPU", "group_idx": 0}
    assert encode_event(Cleared(), 4, {}) == {"type": "AllBlocksCleared"}


def run_with_source(scenario, **options):
    async def main():
        async with SimEngine(SimOptions(**options)) as engine, engine.event_source() as source:
            return await scenario(engine, source)

    return run_virtual(main())


async def ask(engine, content, stamp="", **fields):
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 40, "ignore_eos": True, **fields}
    answer = await engine.handle("POST", "/v1/chat/completions", {"x-session-id": stamp}, json.dumps(body).encode())
    assert answer.status == 200
    return json.loads(answer.body)["usage"]


def walk(events, stamp):
    """The chain that ends in the last block that a call stored, head first."""
    parents, last = {}, None
    for event in events:
        if isinstance(event, BlocksStored):
            parents.update(zip(event.hashes, (event.parent, *event.hashes), strict=False))
            last = event.hashes[-1] if event.call_id == stamp else last
    chain = []
    while last is not None:
        chain.append(last)
        last = parents[last]
    return chain[::-1]


def test_a_stamped_call_teaches_its_whole_chain():
    async def scenario(engine, source):
        first = await ask(engine, LONG, "a")
        second = await ask(engine, LONG + "and more of it " * 10, "b")
        batches = await source.receive()
        return first, second, [event for batch in batches for event in batch.events], [batch.sequence for batch in batches]

    first, second, events, sequences = run_with_source(scenario)
    assert sequences == list(range(len(sequences)))
    one, two = walk(events, "a"), walk(events, "b")
    assert len(one) >= first["prompt_tokens"] // 16
    assert len(two) >= second["prompt_tokens"] // 16
    reused = second["prompt_tokens_details"]["cached_tokens"] // 16
    assert one[:reused] == two[:reused]
    assert next(event for event in events if getattr(event, "call_id", None) == "b").parent == one[reused - 1]


def test_the_stamp_of_the_body_wins_over_the_header():
    async def scenario(engine, source):
        await ask(engine, LONG, "header", session_id="body")
        return {event.call_id for batch in await source.receive() for event in batch.events}

    assert run_with_source(scenario) == {"body"}


def test_events_kept_and_removed_are_exactly_what_the_pool_holds():
    async def scenario(engine, source):
        await asyncio.gather(*(ask(engine, f"{index % 7} {LONG * (1 + index % 3)}") for index in range(40)))
        held = {}
        removed = 0
        for batch in await source.receive():
            for event in batch.events:
                if isinstance(event, BlocksStored):
                    for value in event.hashes:
                        held[value] = held.get(value, 0) + 1
                elif isinstance(event, BlocksRemoved):
                    removed += 1
                    for value in event.hashes:
                        held[value] -= 1
        pool = engine.core.scheduler.pool
        truth = {value & (2**60 - 1): len(blocks) for value, blocks in pool._holders.items()}
        return removed, {value: count for value, count in held.items() if count}, truth

    removed, told, truth = run_with_source(scenario, num_blocks=140)
    assert removed > 0
    assert told == truth


def test_a_reset_is_told_with_the_next_call():
    async def scenario(engine, source):
        await ask(engine, LONG)
        await source.receive()
        await engine.handle("POST", "/reset_prefix_cache", {}, b"")
        await asyncio.sleep(10)
        quiet = len(engine.log.kept)
        usage = await ask(engine, LONG)
        return quiet == len(engine.log.kept), usage, (await source.receive())[0].events

    _same, usage, events = run_with_source(scenario)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert isinstance(events[0], BlocksCleared)
    assert isinstance(events[1], BlocksStored)


def test_a_full_report_tells_a_cached_prompt_again_under_its_new_stamp():
    async def scenario(engine, source):
        await ask(engine, LONG, "a")
        await source.receive()
        usage = await ask(engine, LONG, "b", vllm_xargs={"kv_cache_report_mode": "full"})
        return usage, [event for batch in await source.receive() for event in batch.events]

    usage, events = run_with_source(scenario)
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0
    assert len(walk(events, "b")) >= usage["prompt_tokens"] // 16


def test_replay_gives_what_was_published_before_the_source_was_there():
    async def scenario(engine, _source):
        await ask(engine, LONG)
        async with engine.event_source() as late:
            replayed = await late.replay(0)
            rest = await late.replay(1)
        return replayed, rest

    replayed, rest = run_with_source(scenario)
    assert replayed[0].sequence == 0
    assert rest == replayed[1:]


def test_the_log_keeps_only_its_last_batches():
    log = EventLog(16, (), 3)
    for _ in range(5):
        log.publish([Cleared()], 0.0)
    assert [published.sequence for published in log.since(0)] == [2, 3, 4]


async def test_an_engine_that_publishes_nothing_has_nothing_to_replay():
    with pytest.raises(ReplayUnavailable):
        await InMemoryEventSource(EventLog(16, (), 0)).replay(0)
