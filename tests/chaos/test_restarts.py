"""An engine that is killed and started again at once, between two checks."""

import asyncio

import httpx

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim

BODY = {"model": "m", "messages": [{"role": "user", "content": "a long question " * 50}], "max_tokens": 2}


async def ask(http, proxy):
    """Tokens that placement expected to find, and those that were found."""
    answer = await http.post(f"{proxy.url}/v1/chat/completions", json=BODY, headers={"x-turnwise-debug": "1"})
    assert answer.status_code == 200
    placement = dict(item.split("=", 1) for item in answer.headers["x-turnwise-placement"].split(" "))
    return int(placement["hit_tokens"]), answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


async def ask_until_taught(http, proxy):
    async with asyncio.timeout(20):
        while True:
            expected, found = await ask(http, proxy)
            if expected and expected == found:  # the events of one block may come before those of the next
                return


async def test_an_engine_restarted_between_two_checks_is_not_believed_to_hold_what_its_predecessor_held(serve_sims):
    async with httpx.AsyncClient(timeout=20) as http:
        async with serve_sim(SimEngine(SimOptions(model="m"))) as first:
            # No number of failed checks tells of this restart: an engine may be back before the next check.
            proxy = await serve_sims(first.url, arguments=["--set", "fleet.unhealthy_after=1000000"])
            await ask_until_taught(http, proxy)
        async with serve_sim(SimEngine(SimOptions(model="m", port=int(first.url.rpartition(":")[2])))) as second:
            assert second.events != first.events
            await _until_listening(http, proxy, second.events)
            assert await ask(http, proxy) == (0, 0)
            await ask_until_taught(http, proxy)


async def _until_listening(http, proxy, endpoint):
    async with asyncio.timeout(20):
        while True:
            replica = (await http.get(f"{proxy.admin_url}/v1/replicas")).json()["replicas"][0]
            if replica["feed"] == "live" and replica["facts"]["event_sources"][0]["endpoint"] == endpoint:
                return
            await asyncio.sleep(0)
