"""State that one replica keeps, through the whole pipeline over embedded engines on a virtual clock."""

import asyncio

import msgspec
import pytest

from turnwise.engines.sim.options import SimOptions
from turnwise.proxy.export.prometheus import Gauges
from turnwise.proxy.memory import MemoryClient, MemoryProxy, MemorySim
from turnwise.settings import Fleet, PolicySettings, Replica, Settings

POLICIES = ["kv_aware", "prefix", "session_hash", "least_request", "round_robin"]
DEBUG = ((b"x-turnwise-debug", b"1"),)


async def respond(proxy, text="hello", **fields):
    body = {"model": "sim", "input": text, "max_output_tokens": 8, **fields}
    return await proxy.call(body, path="/v1/responses", headers=DEBUG)


def last_event(client):
    return msgspec.json.decode(client.body.decode().strip().split("\n\n")[-1].partition("data: ")[2])


def response_of(client):
    return last_event(client)["response"] if client.headers["content-type"].startswith("text/event-stream") else client.json()


def placed(client):
    return dict(part.split("=", 1) for part in client.headers["x-turnwise-placement"].split(" "))


def origins(proxy):
    """Origins by the name of the replica."""
    return {member.id: member.origin for member in proxy.fleet.members.values()}


def gauges(proxy):
    families = Gauges(proxy.fleet, proxy.index, proxy.metrics.calls, clock=proxy.clock, num_connections=int).collect()
    return {sample.name: sample.value for family in families for sample in family.samples}


def refusal(client):
    error = client.json()["error"]
    return client.head.status, client.headers["x-turnwise-reason"], error["param"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stream", [False, True])
def test_whatever_continues_a_response_goes_to_the_replica_that_holds_it(virtually, world, policy, stream):
    async def main():
        async with world(3, policy=PolicySettings(name=policy)) as proxy:
            firsts = [await respond(proxy, f"question {number}", stream=stream) for number in range(6)]
            holders = [placed(client)["replica"] for client in firsts]
            later = [
                await respond(proxy, "and then?", previous_response_id=response_of(client)["id"], stream=stream)
                for client in reversed(firsts)
            ]
            return holders[::-1], later, gauges(proxy)

    holders, later, gauged = virtually(main())
    assert [client.head.status for client in later] == [200] * 6
    assert [placed(client)["replica"] for client in later] == holders
    assert {placed(client)["reason"] for client in later} == {"holder"}
    assert gauged["turnwise_held_responses"] == 12


def test_a_chain_of_responses_stays_where_it_began(virtually, world):
    async def main():
        async with world(3, policy=PolicySettings(name="round_robin")) as proxy:
            client = await respond(proxy)
            seen = [placed(client)["replica"]]
            for turn in range(5):
                await respond(proxy, f"noise {turn}")
                client = await respond(proxy, f"turn {turn}", previous_response_id=response_of(client)["id"])
                seen.append(placed(client)["replica"])
            return seen, response_of(client)["usage"]

    seen, usage = virtually(main())
    assert len(set(seen)) == 1
    assert usage["input_tokens_details"]["cached_tokens"] > 0


def test_a_response_is_read_from_its_holder_and_cancelled_there(virtually, world):
    async def main():
        async with world(3, policy=PolicySettings(name="round_robin")) as proxy:
            firsts = [await respond(proxy, f"q{number}") for number in range(3)]
            paths = [f"/v1/responses/{client.json()['id']}" for client in firsts]
            read = [await proxy.call(b"", path=path, method="GET", headers=DEBUG) for path in reversed(paths)]
            cancelled = await proxy.call(b"", path=f"{paths[0]}/cancel", headers=DEBUG)
            return firsts[::-1], read, cancelled

    firsts, read, cancelled = virtually(main())
    assert [client.json() for client in read] == [client.json() for client in firsts]
    assert [placed(client)["replica"] for client in read] == [placed(client)["replica"] for client in firsts]
    assert (cancelled.head.status, cancelled.json()["error"]["message"]) == (400, "Cannot cancel a synchronous response.")
    assert placed(cancelled)["replica"] == placed(firsts[-1])["replica"]


def test_a_response_under_way_can_be_found_before_it_ends(virtually, world):
    async def main():
        async with world(3) as proxy:
            body = {"model": "sim", "input": "hello", "stream": True, "max_output_tokens": 200, "ignore_eos": True}
            call = asyncio.create_task(proxy.call(body, path="/v1/responses", client=(client := MemoryClient())))
            await client.started.wait()
            await asyncio.sleep(0)
            held = len(proxy.fleet.held)
            is_finished = client.is_finished
            await call
            return held, is_finished

    assert virtually(main()) == (1, False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"previous_response_id": "resp_x"}, "previous_response_id"), ({"conversation": {"id": "conv_x"}}, "conversation")],
)
def test_an_id_that_nobody_holds_is_a_404_and_reaches_no_replica(virtually, world, fields, param):
    async def main():
        async with world(2) as proxy:
            return await respond(proxy, **fields), len(proxy.upstream.requests), proxy.metrics.render()

    client, sent, metrics = virtually(main())
    assert refusal(client) == (404, "unknown_response", param)
    assert "not found" in client.json()["error"]["message"]
    assert sent == 0
    assert b'turnwise_refused_total{reason="unknown_response"} 1.0' in metrics


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/responses/resp_x"), ("POST", "/v1/responses/resp_x/cancel")])
def test_an_unknown_id_in_a_path_is_a_404_too(virtually, world, method, path):
    async def main():
        async with world(2) as proxy:
            return await proxy.call(b"", path=path, method=method)

    assert refusal(virtually(main())) == (404, "unknown_response", "response_id")


def test_an_answer_that_is_not_to_be_stored_is_not_held(virtually, world):
    async def main():
        async with world(2) as proxy:
            client = await respond(proxy, store=False)
            return await respond(proxy, previous_response_id=client.json()["id"]), len(proxy.fleet.held)

    client, held = virtually(main())
    assert refusal(client) == (404, "unknown_response", "previous_response_id")
    assert held == 0


def test_a_holder_that_refuses_connections_is_a_404_and_nobody_else_is_asked(virtually, world):
    async def main():
        async with world(3) as proxy:
            first = await respond(proxy)
            proxy.upstream.killed.add(origins(proxy)[placed(first)["replica"]])
            sent = len(proxy.upstream.requests)
            client = await respond(proxy, previous_response_id=first.json()["id"])
            return first, client, list(proxy.upstream.requests)[sent:], origins(proxy)

    first, client, sent, by_name = virtually(main())
    holder = placed(first)["replica"]
    assert refusal(client) == (404, "holder_lost", "previous_response_id")
    assert holder in client.json()["error"]["message"]
    assert {origin for origin, _ in sent} == {by_name[holder]}


def test_a_holder_that_is_out_or_draining_is_a_404(virtually, world):
    async def main():
        async with world(3, changes={"fleet": Fleet(check_interval_s=1.0, unhealthy_after=1)}) as proxy:
            first = await respond(proxy)
            member = proxy.fleet.members[placed(first)["replica"]]
            member.is_draining = True
            draining = await respond(proxy, previous_response_id=first.json()["id"])
            member.is_draining = False
            back = await respond(proxy, previous_response_id=first.json()["id"])
            proxy.upstream.killed.add(member.origin)
            await asyncio.sleep(3)
            gone = await proxy.call(b"", path=f"/v1/responses/{first.json()['id']}", method="GET")
            return draining, back, gone

    draining, back, gone = virtually(main())
    assert refusal(draining) == (404, "holder_lost", "previous_response_id")
    assert "draining" in draining.json()["error"]["message"]
    assert back.head.status == 200
    assert refusal(gone) == (404, "holder_lost", "response_id")


def test_a_holder_that_was_taken_in_again_has_lost_what_it_held(virtually, world):
    async def main():
        async with world(2, changes={"fleet": Fleet(check_interval_s=1.0, unhealthy_after=1)}) as proxy:
            first = await respond(proxy)
            origin = origins(proxy)[placed(first)["replica"]]
            proxy.upstream.killed.add(origin)
            await asyncio.sleep(3)
            proxy.upstream.killed.clear()
            await asyncio.sleep(3)
            old = await respond(proxy, previous_response_id=first.json()["id"])
            anew = [await respond(proxy, f"anew {number}") for number in range(4)]
            later = [await respond(proxy, previous_response_id=client.json()["id"]) for client in anew]
            return old, later

    old, later = virtually(main())
    assert refusal(old) == (404, "holder_lost", "previous_response_id")
    assert "restarted" in old.json()["error"]["message"]
    assert [client.head.status for client in later] == [200] * 4


def test_what_is_held_is_bounded(virtually, world):
    async def main():
        async with world(2, changes={"fleet": Fleet(max_held_responses=3)}) as proxy:
            ids = [(await respond(proxy, f"q{number}")).json()["id"] for number in range(5)]
            return [(await proxy.call(b"", path=f"/v1/responses/{name}", method="GET")).head.status for name in ids]

    assert virtually(main()) == [404, 404, 200, 200, 200]


def test_a_fleet_of_several_models_sends_each_call_to_one_that_serves_it(virtually):
    served = (("base", ("ad1",)), ("base", ()), ("other", ()))

    async def main():
        replicas = tuple(Replica(url=f"http://sim:{9000 + number}", name=f"r{number}") for number in range(3))

        def engine(number):
            model, loras = served[number]
            return MemorySim(SimOptions(model=model, loras=loras, num_blocks=500 + 100 * number))

        async with MemoryProxy(Settings(replicas=replicas), engine) as proxy:
            seen = {}
            for model in ("base", "ad1", "other", "base", "other", "base"):
                messages = [{"role": "user", "content": "one long prompt that all of them share " * 20}]
                client = await proxy.call({"model": model, "messages": messages, "max_tokens": 4}, headers=DEBUG)
                cached = client.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
                seen.setdefault(model, []).append((placed(client), cached))
                await asyncio.sleep(1)
            missing = await proxy.call({"model": "none", "messages": [{"role": "user", "content": "x"}]})
            return seen, missing, proxy.fleet.models(), proxy.index.stats().num_domains

    seen, missing, models, domains = virtually(main())
    assert {name for name, _ in models.items()} == {"base", "ad1", "other"}
    assert {placement["replica"] for placement, _ in seen["base"]} <= {"r0", "r1"}
    assert len({placement["replica"] for placement, _ in seen["base"]}) == 1, "a prompt stays where it is cached"
    assert [placement["replica"] for placement, _ in seen["ad1"]] == ["r0"]
    assert {placement["replica"] for placement, _ in seen["other"]} == {"r2"}
    for calls in seen.values():
        assert calls[0][0]["hit_tokens"] == "0", "one model's blocks are no other's"
        assert all(abs(int(placement["hit_tokens"]) - cached) <= 16 for placement, cached in calls)
    assert all(cached > 0 for _, cached in [*seen["base"][1:], *seen["other"][1:]])
    assert domains == 2
    assert missing.head.status == 404


def test_bytes_that_routing_did_not_hash_are_counted_by_dialect(virtually, world):
    async def main():
        async with world(1) as proxy:
            await respond(proxy)
            before = proxy.metrics.render()
            await respond(proxy, a_field_of_tomorrow="changes the prompt")
            return before, proxy.metrics.render()

    before, after = virtually(main())
    assert b'turnwise_unhashed_prompt_bytes_total{dialect="responses"} 0.0' in before
    assert b'turnwise_unhashed_prompt_bytes_total{dialect="responses"} 0.0' not in after
