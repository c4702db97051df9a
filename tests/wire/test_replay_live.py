"""A trace over HTTP, against an embedded engine that stands in for a proxy."""

from pathlib import Path

import pytest

from turnwise.engines.sim.api import SimEngine
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.server import serve_sim
from turnwise.proxy.replay.drive import Pacing
from turnwise.proxy.replay.formats import read_trace
from turnwise.proxy.replay.live import model_of, replay_live
from turnwise.proxy.replay.results import ReplayError

SAMPLES = Path(__file__).parent.parent / "data" / "traces"
FAST = Pacing(is_open=False, ramp_s=0.0, think_cap_s=0.0, speedup=1000.0)


def engine(**options):
    return serve_sim(SimEngine(SimOptions(model="sim", publishes_events=False, speed=50.0, **options)))


@pytest.mark.parametrize("name", ["mooncake.jsonl", "lmcache", "fan_in.json"])
async def test_every_call_of_a_trace_is_sent_and_its_usage_read(name):
    trace, seen = read_trace(SAMPLES / name), []
    async with engine() as address:
        assert await model_of(address.url) == "sim"
        results = await replay_live(trace, address.url, "sim", FAST, seen.append)
    assert len(results) == len(seen) == trace.num_calls
    assert [result.arrived_s for result in results] == sorted(result.arrived_s for result in results)
    assert all(0 < result.first_token_s <= result.ended_s for result in results)


async def test_pseudo_words_have_about_the_trace_s_tokens_and_its_prefixes():
    trace = read_trace(SAMPLES / "mooncake.jsonl")
    async with engine() as address:
        results = await replay_live(trace, address.url, "sim", FAST, lambda _result: None)
    for result in results:
        assert result.prompt_tokens == pytest.approx(result.call.prompt_tokens, rel=0.1)
    grown = next(result for result in results if result.call.prompt_tokens == 2100)
    assert grown.cached_tokens == pytest.approx(1024, abs=64), "two blocks of 512 were sent before"


async def test_a_refused_call_ends_the_replay_with_what_was_answered():
    trace = read_trace(SAMPLES / "mooncake.jsonl")
    async with engine(max_model_len=600) as address:
        with pytest.raises(ExceptionGroup) as caught:
            await replay_live(trace, address.url, "sim", FAST, lambda _result: None)
    assert caught.group_contains(ReplayError, match="HTTP 400: .*maximum context length")


async def test_an_engine_that_is_gone_ends_the_replay():
    trace = read_trace(SAMPLES / "mooncake.jsonl")
    async with engine() as address:
        url = address.url
    with pytest.raises(ExceptionGroup) as caught:
        await replay_live(trace, url, "sim", FAST, lambda _result: None)
    assert caught.group_contains(ReplayError)
    with pytest.raises(ReplayError, match="does not say which models"):
        await model_of(url)
