"""Calls whose replica fails or comes back, or whose client leaves, over embedded engines on a virtual clock."""

import asyncio

import msgspec
from tests.integration.talk import chat, words

from turnwise.proxy.memory import MemoryClient
from turnwise.settings import Fleet, PolicySettings, UpstreamSettings


def test_a_replica_gone_before_its_first_byte_is_replaced_once(virtually, world):
    async def main():
        async with world(2) as proxy:
            proxy.upstream.killed.add(next(iter(proxy.upstream.engines)))
            clients = [await proxy.call(chat(words(5, f"k{number}"))) for number in range(4)]
            return clients, proxy

    clients, proxy = virtually(main())
    assert [client.head.status for client in clients] == [200] * 4
    assert {call["replica"] for call in proxy.recorder.recent} == {"r1"}
    refused = [origin for origin, _ in proxy.upstream.requests if origin.port == 9000]
    assert len(refused) == 1, "the breaker keeps later calls away"
    assert b'turnwise_attempts_failed_total{reason="connect_failed",replica="r0"} 1.0' in proxy.metrics.render()


def test_the_only_attempt_of_a_call_opens_the_breaker_too(virtually, world):
    async def main():
        upstream = UpstreamSettings(max_attempts=1)
        async with world(2, policy=PolicySettings(name="round_robin"), changes={"upstream": upstream}) as proxy:
            proxy.upstream.killed.add(next(iter(proxy.upstream.engines)))
            return [(await proxy.call(chat("hello"))).head.status for _ in range(6)]

    statuses = virtually(main())
    assert sorted(statuses) == [200] * 5 + [502]


def test_a_stream_that_breaks_after_its_first_byte_ends_in_an_error_event_and_is_not_retried(virtually, world):
    async def main():
        async with world(2) as proxy:
            for origin in proxy.upstream.engines:
                proxy.upstream.breaks_after[origin] = 2
            client = await proxy.call(chat("hello", stream=True))
            return client, proxy

    client, proxy = virtually(main())
    last = client.body.decode().strip().split("\n\n")[-1]
    assert msgspec.json.decode(last.removeprefix("data: "))["error"]["code"] == "stream_broken"
    assert b"[DONE]" not in client.body
    assert len(proxy.upstream.requests) == 1
    assert proxy.recorder.recent[-1]["reason"] == "stream_broken"


def test_a_fleet_of_dead_replicas_is_a_502_in_the_callers_dialect(virtually, world):
    async def main():
        async with world(2) as proxy:
            proxy.upstream.killed.update(proxy.upstream.engines)
            chat_client = await proxy.call(chat("hello"))
            messages = await proxy.call(chat("hello"), path="/v1/messages")
            return chat_client, messages, proxy

    chat_client, messages, proxy = virtually(main())
    assert chat_client.head.status == 502
    assert chat_client.json()["error"]["code"] == "connect_failed"
    assert [call["reason"] for call in proxy.recorder.recent] == ["connect_failed", "connect_failed"]
    assert messages.json()["type"] == "error"
    assert all(member.num_running == 0 for member in proxy.fleet.members.values())


def test_a_replica_that_comes_back_is_used_again(virtually, world):
    async def main():
        fleet = Fleet(check_interval_s=1.0, unhealthy_after=1, breaker_open_s=0.5)
        async with world(2, policy=PolicySettings(name="round_robin"), changes={"fleet": fleet}) as proxy:
            origin = next(iter(proxy.upstream.engines))
            proxy.upstream.killed.add(origin)
            await asyncio.sleep(3)
            down = [(await proxy.call(chat("a"))).head.status for _ in range(4)]
            placed_down = {call["replica"] for call in proxy.recorder.recent}
            proxy.upstream.killed.clear()
            await asyncio.sleep(3)
            await asyncio.gather(*(proxy.call(chat("b")) for _ in range(4)))
            return down, placed_down, [call["replica"] for call in list(proxy.recorder.recent)[-4:]]

    down, placed_down, after = virtually(main())
    assert down == [200] * 4
    assert placed_down == {"r1"}
    assert sorted(set(after)) == ["r0", "r1"]


def test_a_client_that_leaves_ends_its_call_and_frees_its_lease(virtually, world):
    async def main():
        async with world(1) as proxy:
            from_client = proxy.call(chat("hello", stream=True, max_tokens=500), client=(client := MemoryClient()))
            task = asyncio.create_task(from_client)
            await client.started.wait()
            engine = next(iter(proxy.upstream.engines.values()))
            client.leave()
            await task
            await asyncio.sleep(0.1)
            return proxy, engine.core.stats.finished["abort"]

    proxy, aborted = virtually(main())
    assert aborted == 1
    assert proxy.recorder.recent[-1]["reason"] == "client_gone"
    assert proxy.fleet.members["r0"].num_running == 0
    assert proxy.fleet.members["r0"].prefilling_tokens == 0
