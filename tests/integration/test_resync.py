"""A prompt whose blocks nobody could tell is asked about once, and known from then on."""

import asyncio
import json

import pytest

from turnwise.settings import Edits
from turnwise.types import ReplicaId

BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "word " * 400}]},
    "/v1/completions": {"prompt": "word " * 400},
    "/v1/messages": {"messages": [{"role": "user", "content": "word " * 400}]},
    "/v1/responses": {"input": [{"role": "user", "content": "word " * 400}], "store": False},
}


def body_of(path, **fields):
    return {"model": "sim", "max_tokens": 4, **BODIES[path], **fields}


async def warm(proxy, path):
    """The engine answers somebody before the proxy listens to its events."""
    (engine,) = proxy.upstream.engines.values()
    answer = await engine.handle("POST", path, {}, json.dumps(body_of(path)).encode())
    assert answer.status == 200
    await asyncio.sleep(1)
    proxy.index.drop_blocks(ReplicaId("r0"))
    await asyncio.sleep(5)  # until nothing is left of them


async def forwarded(proxy, path, **fields):
    """What a call makes of the body that the replica gets."""
    client = await proxy.call(body_of(path, **fields), path=path)
    assert client.head.status == 200
    return json.loads(proxy.upstream.requests[-1][1].body)


@pytest.mark.parametrize("path", BODIES)
def test_a_prompt_that_was_cached_before_anybody_knew_it_is_reported_once(virtually, world, path):
    async def main():
        async with world(1) as proxy:
            await warm(proxy, path)
            return [await forwarded(proxy, path) for _ in range(3)], proxy.index.stats(), list(proxy.recorder.recent)

    bodies, stats, calls = virtually(main())
    assert bodies == [body_of(path), {**body_of(path), "vllm_xargs": {"kv_cache_report_mode": "full"}}, body_of(path)]
    assert (stats.num_reports_asked, stats.num_taught) == (1, 2)
    assert calls[-1]["predicted"]["source"] == "confirmed"


@pytest.mark.parametrize("edits", [Edits(resync=False), Edits(session_stamp=False)])
def test_nothing_is_asked_where_that_is_switched_off_or_no_event_would_bear_our_stamp(virtually, world, edits):
    path = "/v1/chat/completions"

    async def main():
        async with world(1, changes={"edits": edits}) as proxy:
            await warm(proxy, path)
            return [await forwarded(proxy, path) for _ in range(3)], proxy.index.stats().num_reports_asked

    assert virtually(main()) == ([body_of(path)] * 3, 0)


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_client_that_chooses_a_mode_itself_keeps_it(virtually, world, mode):
    path, extras = "/v1/chat/completions", {"kv_cache_report_mode": mode}

    async def main():
        async with world(1) as proxy:
            await warm(proxy, path)
            bodies = [await forwarded(proxy, path, vllm_xargs=extras) for _ in range(2)]
            return bodies, proxy.index.stats().num_taught

    bodies, num_taught = virtually(main())
    assert bodies == [body_of(path, vllm_xargs=extras)] * 2
    assert num_taught == (2 if mode == "full" else 0)
