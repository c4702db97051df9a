"""`turnwise serve` with a state file, ended by a signal or killed, and started again before engines that stayed."""

import asyncio
import contextlib
import signal

import httpx
import pytest

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim

LIMIT_S = 30


def body(*asked):
    messages = [{"role": "system", "content": "be brief " * 60}]
    for text in asked:
        messages += [{"role": "user", "content": text * 60}, {"role": "assistant", "content": "so it is"}]
    return {"model": "m", "messages": messages[:-1], "max_tokens": 4}


async def ask(http, proxy, *asked):
    """Send a call; gives the placement that its answer explains, as a dict of words."""
    answer = await http.post(f"{proxy.url}/v1/chat/completions", json=body(*asked), headers={"x-turnwise-debug": "1"})
    assert answer.status_code == 200
    words = (word.partition("=") for word in answer.headers["x-turnwise-placement"].replace(";", " ").split())
    return {name: value for name, _, value in words}


async def until_heard(http, proxy):
    async with asyncio.timeout(LIMIT_S):
        while True:
            replicas = (await http.get(f"{proxy.admin_url}/v1/replicas")).json()["replicas"]
            if all(replica["feed"] == "live" for replica in replicas):
                return


async def until_taught(http, proxy, count):
    async with asyncio.timeout(LIMIT_S):
        while (await http.get(f"{proxy.admin_url}/v1/index")).json()["num_taught"] < count:
            pass


@contextlib.asynccontextmanager
async def engine():
    async with serve_sim(SimEngine(SimOptions(model="m", speed=100))) as address, httpx.AsyncClient(timeout=LIMIT_S) as http:
        yield address.url, http


async def end(proxy, how):
    proxy.process.send_signal(how)
    await asyncio.wait_for(proxy.process.wait(), LIMIT_S)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_what_was_known_when_it_ended_is_known_when_it_starts_again(serve_sims, tmp_path, workers):
    file = tmp_path / "state"
    arguments = ["--workers", workers, "--set", f"index.state_file={file}", "--set", "server.drain_timeout_s=1"]
    async with engine() as (url, http):
        proxy = await serve_sims(url, arguments=arguments)
        await until_heard(http, proxy)
        await ask(http, proxy, "one ")
        await ask(http, proxy, "one ", "two ")
        await until_taught(http, proxy, 2)
        await end(proxy, signal.SIGTERM)
        assert [path.name for path in tmp_path.iterdir()] == ["state"]
        proxy = await serve_sims(url, arguments=arguments)
        await until_heard(http, proxy)
        placement = await ask(http, proxy, "one ", "two ", "three ")
        assert placement["hit_source"] == "confirmed"
        await end(proxy, signal.SIGTERM)


async def test_one_that_was_killed_knows_what_it_last_wrote(serve_sims, tmp_path):
    file = tmp_path / "state"
    arguments = ["--set", f"index.state_file={file}", "--set", "index.state_interval_s=0.05"]
    async with engine() as (url, http):
        proxy = await serve_sims(url, arguments=arguments)
        await until_heard(http, proxy)
        await ask(http, proxy, "one ")
        await until_taught(http, proxy, 1)
        known = file.stat().st_mtime_ns if file.exists() else 0
        seen = set()
        async with asyncio.timeout(LIMIT_S):
            while len(seen) < 2:  # the first of them may have been begun before the call
                await asyncio.sleep(0)
                if file.exists() and file.stat().st_mtime_ns > known:
                    seen.add(file.stat().st_mtime_ns)
        await end(proxy, signal.SIGKILL)
        proxy = await serve_sims(url, arguments=arguments)
        await until_heard(http, proxy)
        assert (await ask(http, proxy, "one ", "two "))["hit_source"] == "confirmed"
