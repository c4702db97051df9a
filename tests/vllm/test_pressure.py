"""What the index knows of two real vLLM replicas whose KV is so small that eviction never stops.

All figures are the proxy's own: `/v1/calls`, `/v1/replicas` and `/metrics`. They are counts of tokens and calls, so a slow
machine changes how long this takes and not what it finds.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.vllm.conversations import Interlude, Shape, hold_conversations
from tests.vllm.fleet import BLOCK_SIZE, START_DEADLINE_S, running
from tests.vllm.sidecar import serving, wait_for_feeds

pytestmark = pytest.mark.vllm

NUM_BLOCKS = 300
NUM_CONVERSATIONS, NUM_TURNS = 40, 5
NUM_UNDER_FAULTS = 24
NUM_LIVE, NUM_AT_ONCE = 16, 8
"""Half of those that live wait for their tools, and so come back to what others have evicted meanwhile."""

SHAPE = Shape(first_tokens=600, turn_tokens=250, num_systems=4, system_tokens=600)
CALLS_TO_LEARN = 3
"""Calls to a replica after which nothing is believed of it that it has lost."""

SOURCES = ("confirmed", "predicted", "none")


@pytest.fixture(scope="module")
def small_fleet():
    cache = os.environ.get("TURNWISE_VLLM_LAB")
    if cache is None:
        pytest.skip("this suite starts replicas of its own: use `make test-vllm`")
    with running(Path(cache).resolve(), NUM_BLOCKS) as replicas:
        yield replicas


async def converse(sidecar, num_conversations=NUM_CONVERSATIONS, **options):
    return await hold_conversations(
        lambda _conversation, _turn: sidecar.url,
        salt=secrets.token_hex(8),
        num_sessions=num_conversations,
        num_turns=NUM_TURNS,
        num_at_once=NUM_AT_ONCE,
        num_live=NUM_LIVE,
        shape=SHAPE,
        **options,
    )


def calls_of(sidecar):
    """All calls of the run, oldest first."""
    return httpx.get(f"{sidecar.admin_url}/v1/calls", params={"limit": 256}).json()["calls"][::-1]


def sums_of(sidecar):
    """What the closed loop counted, over all replicas, by source."""
    sums = {source: Counter() for source in SOURCES}
    for replica in httpx.get(f"{sidecar.admin_url}/v1/replicas").json()["replicas"]:
        assert replica["cache"]["complaint"] == ""
        for told in replica["cache"]["loop"]:
            sums[told["source"]].update({name: value for name, value in told.items() if isinstance(value, int)})
    return sums


def metric_sums(sidecar, name):
    """The values of one metric, summed over replicas and sources, by kind."""
    sums = Counter()
    for family in text_string_to_metric_families(httpx.get(f"{sidecar.admin_url}/metrics").text):
        for sample in family.samples:
            if sample.name == name:
                sums[sample.labels["kind"]] += sample.value
    return sums


def table(sums):
    """The closed loop as lines of text: calls, and errors as a share of all prompt tokens."""
    prompt_tokens = sum(sums[source]["prompt_tokens"] for source in SOURCES)
    columns = ("error_tokens", "evicted_tokens", "arrived_tokens", "wrong_tokens")
    yield "  source      calls  predicted   reported    error  evicted  arrived    wrong"
    for source in SOURCES:
        told = sums[source]
        shares = " ".join(f"{told[name] / prompt_tokens:8.4f}" for name in columns)
        yield f"  {source:10} {told['num_calls']:6} {told['predicted_tokens']:10} {told['reported_tokens']:10} {shares}"


def later_turns(turns, calls):
    """The calls that are not the first turn of their conversation: all of them are longer than any first turn."""
    longest = max(turn.prompt_tokens for turn in turns if turn.turn == 0)
    return [call for call in calls if call["usage"]["prompt_tokens"] > longest]


def computed_blocks(turns):
    return sum(turn.prompt_tokens - turn.cached_tokens for turn in turns) // BLOCK_SIZE


async def test_the_index_is_right_about_what_an_engine_held_when_it_looked(small_fleet, tmp_path, capsys):
    with serving([replica.url for replica in small_fleet], log=tmp_path / "pressure.log") as sidecar:
        turns = await converse(sidecar)
        calls, sums = calls_of(sidecar), sums_of(sidecar)
        errors = metric_sums(sidecar, "turnwise_source_error_tokens_total")
        hits = metric_sums(sidecar, "turnwise_source_hit_tokens_total")

    total = sum(sums.values(), Counter())
    later = later_turns(turns, calls)
    taught = [call for call in later if call["predicted"]["is_taught"]]
    with capsys.disabled():
        lines = (
            *table(sums),
            f"  taught: {len(taught)} of {len(later)} turns after the first",
            f"  right when the engine looked: {total['num_right_when_scheduled']} of {total['num_checked']} taught calls",
            f"  error at the decision: {total['error_tokens'] / total['prompt_tokens']:.4f} of prompt tokens",
        )
        sys.stdout.write("\n" + "\n".join(lines) + "\n")

    assert computed_blocks(turns) > 4 * len(small_fleet) * NUM_BLOCKS  # so nearly each of them was evicted again
    assert len(turns) == len(calls) == total["num_calls"] == NUM_CONVERSATIONS * NUM_TURNS
    assert hits == {"predicted": total["predicted_tokens"], "reported": sum(turn.cached_tokens for turn in turns)}
    assert errors == {
        "evicted_while_waiting": total["evicted_tokens"],
        "arrived_while_waiting": total["arrived_tokens"],
        "wrong": total["wrong_tokens"],
    }
    assert len(taught) >= 0.90 * len(later)
    assert total["num_checked"] >= len(taught)
    assert total["num_right_when_scheduled"] >= 0.99 * total["num_checked"]
    assert total["error_tokens"] <= 0.04 * total["prompt_tokens"]


async def test_a_restart_and_a_reset_are_believed_after_three_calls_and_no_client_notices(small_fleet, tmp_path, capsys):
    """One engine is killed and another drops its cache while no call is in flight: it refuses while one is.

    Calls go on at once, and the first come one at a time, since the one that drops its cache says so with its next call. While
    the killed one starts, the proxy still sends calls there until it notices, and sends them on when they are refused.
    """
    killed, reset = small_fleet
    num_before = 0

    async def fail():
        nonlocal num_before
        num_before = len(calls_of(sidecar))
        killed.kill()
        async with httpx.AsyncClient(timeout=60.0) as client:
            (await client.post(f"{reset.url}/reset_prefix_cache")).raise_for_status()
        killed.start()

    async def recover():
        await asyncio.to_thread(wait_for_feeds, sidecar, "live", START_DEADLINE_S)

    interludes = [
        Interlude(after_calls=40, act=fail, calls_alone=CALLS_TO_LEARN),
        Interlude(after_calls=70, act=recover, calls_alone=CALLS_TO_LEARN),
    ]
    with serving([replica.url for replica in small_fleet], log=tmp_path / "faults.log") as sidecar:
        turns = await converse(sidecar, NUM_UNDER_FAULTS, interludes=interludes)
        calls = calls_of(sidecar)
        retried = sum(call["attempt"] > 1 for call in calls)

    after = {name: [call for call in calls[num_before:] if call["replica"] == name] for name in ("replica-0", "replica-1")}
    fooled = {name: [number for number, call in enumerate(sent, start=1) if is_fooled(call)] for name, sent in after.items()}
    with capsys.disabled():
        lines = [f"  {name}: {len(sent)} calls since; fooled: {fooled[name] or 'none'}" for name, sent in after.items()]
        lines.append(f"  {retried} calls were sent on to the other replica; {len(turns)} of {len(calls)} answered")
        sys.stdout.write("\n" + "\n".join(lines) + "\n")

    assert len(turns) == NUM_UNDER_FAULTS * NUM_TURNS
    assert [call["status"] for call in calls] == [httpx.codes.OK] * len(turns)
    for name, sent in after.items():
        assert len(sent) > CALLS_TO_LEARN
        assert sent[0]["usage"]["cached_tokens"] == 0
        assert [number for number in fooled[name] if number > CALLS_TO_LEARN] == []


def is_fooled(call):
    """Whether a decision went by blocks that were not there: not those that others evicted while it waited."""
    believed, finding = call["predicted"], call["finding"]
    over = believed["cached_tokens"] - call["usage"]["cached_tokens"]
    return over > BLOCK_SIZE and (finding is None or finding["verdict"] == "wrong")
