"""The embedded engine as the process that `turnwise sim` starts."""

import asyncio
import contextlib
import json
import signal
import sys
from contextlib import asynccontextmanager

import httpx
import pytest

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim
from turnwise.engines.vllm import VllmAdapter, ZmqEventSource

PATIENCE_S = 60.0
RUN = (
    "import argparse, sys; from turnwise.engines.sim import add_arguments, run;"
    "parser = argparse.ArgumentParser(); add_arguments(parser); sys.exit(run(parser.parse_args()))"
)
BODY = {"messages": [{"role": "user", "content": "hello " * 100}], "max_tokens": 5}


@asynccontextmanager
async def process(*arguments):
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_tells_its_addresses_serves_and_ends_on_a_signal(number):
    async with process("--port", "0", "--model", "m", "--speed", "10") as started:
        address = json.loads(await started.stdout.readline())
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            answer = await http.post(f"{address['url']}/v1/chat/completions", json=BODY)
            facts = await VllmAdapter().discover(http, address["url"])
        (source,) = facts.event_sources
        batches = await ZmqEventSource(source).replay(0)
        started.send_signal(number)
        assert await started.wait() == 0
    assert answer.status_code == 200
    assert (facts.models, facts.engine, source.endpoint) == (("m",), "turnwise-sim", address["events"])
    assert batches[0].events


async def test_a_signal_ends_it_while_an_answer_is_under_way():
    async with process("--port", "0") as started, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        url = json.loads(await started.stdout.readline())["url"]
        body = {**BODY, "stream": True, "max_tokens": 8000, "ignore_eos": True}
        async with http.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            chunks = answer.aiter_bytes()
            await anext(chunks)
            started.send_signal(signal.SIGTERM)
            with contextlib.suppress(httpx.HTTPError):
                async for _chunk in chunks:
                    pass
        _out, err = await started.communicate()
    assert started.returncode == 0
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--num-blocks", "0"], b"num_blocks"), (["--speed", "-1"], b"speed"), (["--host", "256.1.1.1"], b"256")],
)
async def test_a_wrong_option_ends_it_with_a_sentence(arguments, said):
    async with process("--port", "0", *arguments) as started:
        _out, err = await started.communicate()
    assert started.returncode == 2
    assert said in err
    assert b"Traceback" not in err


async def test_a_taken_port_ends_it_with_a_sentence():
    async with serve_sim(SimEngine(SimOptions())) as address:
        for flag, url in (("--port", address.url), ("--events-port", address.events), ("--replay-port", address.replay)):
            ports = ["--port", "0"] if flag != "--port" else []
            async with process(*ports, flag, url.rpartition(":")[2]) as started:
                _out, err = await started.communicate()
            assert started.returncode == 2
            assert b"in use" in err
            assert b"Traceback" not in err


async def test_an_engine_that_publishes_nothing_lists_no_source():
    async with serve_sim(SimEngine(SimOptions(publishes_events=False))) as address, httpx.AsyncClient() as http:
        assert address.events is None
        assert (await VllmAdapter().discover(http, address.url)).event_sources == ()


async def test_head_and_odd_methods_are_answered():
    async with serve_sim(SimEngine(SimOptions())) as address, httpx.AsyncClient() as http:
        assert (await http.head(f"{address.url}/health")).status_code == 200
        assert (await http.request("PURGE", f"{address.url}/v1/models")).status_code == 405
