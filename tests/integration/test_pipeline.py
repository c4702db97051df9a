"""Calls through the whole pipeline over embedded engines on a virtual clock."""

import asyncio

import msgspec
import pytest
from tests.integration.talk import chat, words

from turnwise.engines.sim.api import CONTROL_PATHS
from turnwise.proxy.export.prometheus import Gauges
from turnwise.settings import Edits, PolicySettings


async def converse(proxy, name, turns, *, system, think_s=0.5, **fields):
    """One session: every turn carries the answer to the one before."""
    texts = [words(120, f"{name}q")]
    for turn in range(turns):
        client = await proxy.call(chat(*texts, system=system, **fields))
        assert client.head.status == 200
        texts += [client.json()["choices"][0]["message"]["content"], words(60, f"{name}t{turn}q")]
        await asyncio.sleep(think_s)


def cached_fraction(proxy):
    calls = [call["usage"] for call in proxy.recorder.recent]
    return sum(usage.cached_tokens for usage in calls) / sum(usage.prompt_tokens for usage in calls)


def run_sessions(virtually, world, *, policy="kv_aware", has_events=True, sessions=6, turns=5, count=3, **options):
    async def main():
        settings = PolicySettings(name=policy)
        async with world(count, policy=settings, has_events=has_events, preset="h100-8b", **options) as proxy:
            shared = words(400, "s")
            async with asyncio.TaskGroup() as group:
                for number in range(sessions):
                    group.create_task(converse(proxy, f"n{number}", turns, system=shared))
            return list(proxy.recorder.recent), cached_fraction(proxy), proxy

    return virtually(main())


def test_sessions_stay_with_the_replica_that_holds_them(virtually, world):
    calls, ours, _ = run_sessions(virtually, world)
    _, round_robin, _ = run_sessions(virtually, world, policy="round_robin")
    assert len(calls) == 30
    assert ours > round_robin + 0.1


def test_what_is_predicted_is_what_the_engine_finds(virtually, world):
    calls, _, proxy = run_sessions(virtually, world)
    later = [call for call in calls if call["predicted"]["source"] == "confirmed"]
    assert len(later) >= 18  # the second turns reach through an answer before any was seen to join its chain
    off = [call for call in later if abs(call["predicted"]["cached_tokens"] - call["usage"].cached_tokens) > 16]
    assert len(off) <= 0.05 * len(later)
    assert proxy.index.stats().num_taught >= 24


def test_every_call_has_a_finding_and_the_replicas_add_them_up(virtually, world):
    calls, _, proxy = run_sessions(virtually, world)
    replicas = proxy.index.stats().replicas
    loops = [told for replica in replicas.values() for told in replica.loop]
    assert sum(told.num_calls for told in loops) == len(calls)
    assert sum(told.reported_tokens for told in loops) == sum(call["usage"].cached_tokens for call in calls)
    assert sum(told.predicted_tokens for told in loops) == sum(call["predicted"]["cached_tokens"] for call in calls)
    assert sum(told.num_checked for told in loops) >= 24
    assert all(told.num_right_when_scheduled == told.num_checked for told in loops)
    assert all(replica.complaint == "" for replica in replicas.values())
    later = [call for call in calls if call["predicted"]["source"] == "confirmed"]
    assert {call["finding"].verdict for call in later} == {"right"}

    gauges = Gauges(proxy.fleet, proxy.index, proxy.metrics.calls, clock=proxy.clock, num_connections=int)
    samples = {
        (sample.name, sample.labels.get("source"), sample.labels.get("kind"), sample.labels.get("replica")): sample.value
        for family in gauges.collect()
        for sample in family.samples
    }
    for name, replica in replicas.items():
        for told in replica.loop:
            source = told.source.value
            assert samples["turnwise_source_hit_tokens_total", source, "predicted", name] == told.predicted_tokens
            assert samples["turnwise_source_hit_tokens_total", source, "reported", name] == told.reported_tokens
            assert samples["turnwise_source_error_tokens_total", source, "wrong", name] == told.wrong_tokens
            assert samples["turnwise_source_weight", source, None, name] == 1.0


def test_where_eviction_never_stops_the_index_is_right_when_an_engine_looks_and_nearly_so_at_the_decision(virtually, world):
    """Forty conversations, of which sixteen live, eight calls at once, on caches that hold a few of them.

    Without what calls in flight will evict, the error at the decision is above a tenth of all prompt tokens.
    """

    async def main():
        async with world(2, num_blocks=400) as proxy:
            slots, live = asyncio.Semaphore(8), asyncio.Semaphore(16)
            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(live_on(proxy, number, slots, live))
            return [told for replica in proxy.index.stats().replicas.values() for told in replica.loop]

    async def live_on(proxy, number, slots, live):
        texts, system = [words(120, f"n{number}q")], words(120, f"s{number % 4}")
        async with live:
            for turn in range(5):
                async with slots:
                    client = await proxy.call(chat(*texts, system=system))
                assert client.head.status == 200
                texts += [words(10, f"n{number}a{turn}"), words(60, f"n{number}t{turn}q")]

    loops = virtually(main())
    assert sum(told.num_calls for told in loops) == 200
    assert sum(told.num_checked for told in loops) >= 0.9 * 200
    assert sum(told.num_right_when_scheduled for told in loops) >= 0.99 * sum(told.num_checked for told in loops)
    assert sum(told.error_tokens for told in loops) <= 0.04 * sum(told.prompt_tokens for told in loops)


def test_without_events_placements_are_remembered_instead(virtually, world):
    calls, ours, _ = run_sessions(virtually, world, has_events=False)
    _, round_robin, _ = run_sessions(virtually, world, policy="round_robin", has_events=False)
    assert ours > round_robin + 0.1
    assert {call["predicted"]["source"] for call in calls} <= {"predicted", "none"}


@pytest.mark.parametrize("policy", ["prefix", "session_hash", "least_request", "round_robin"])
def test_every_policy_serves_every_call(virtually, world, policy):
    calls, _, proxy = run_sessions(virtually, world, policy=policy, sessions=3, turns=3)
    assert [call["status"] for call in calls] == [200] * 9
    assert all(member.num_running == 0 for member in proxy.fleet.members.values())


def test_a_burst_spreads_because_each_booking_counts_at_once(virtually, world):
    async def main():
        async with world(4, preset="h100-8b") as proxy:
            bodies = [chat(words(300, f"b{number}")) for number in range(16)]
            await asyncio.gather(*(proxy.call(body) for body in bodies))
            return [call["replica"] for call in proxy.recorder.recent]

    placed = virtually(main())
    assert {placed.count(name) for name in ("r0", "r1", "r2", "r3")} == {4}


def test_paced_agents_with_one_system_prompt_use_the_whole_fleet(virtually, world):
    async def main():
        async with world(3, preset="h100-8b") as proxy:
            shared = words(300, "s")
            for number in range(60):
                await proxy.call(chat(words(400, f"p{number}x"), system=shared))
                await asyncio.sleep(0.02)
            return [call["replica"] for call in proxy.recorder.recent]

    placed = virtually(main())
    assert all(placed.count(name) >= 10 for name in ("r0", "r1", "r2"))


def test_an_answer_in_one_piece_teaches_no_prefill_speed(virtually, world):
    async def main(is_stream):
        async with world(1, preset="h100-8b") as proxy:
            for number in range(4):
                await proxy.call(chat(words(300, f"v{number}x"), stream=is_stream, max_tokens=200))
            return proxy.fleet.members["r0"].learned_tokens_per_s

    assert virtually(main(is_stream=False)) is None
    assert virtually(main(is_stream=True)) > 0


def test_a_known_path_with_another_method_says_which_it_takes(virtually, world):
    async def main():
        async with world(1) as proxy:
            paths = ("/v1/chat/completions", "/v1/models", "/v1/models/sim", "/ready")
            methods = ("GET", "POST", "DELETE", "POST")
            return [await proxy.call(b"", path=path, method=method) for path, method in zip(paths, methods, strict=True)]

    clients = virtually(main())
    assert [client.head.status for client in clients] == [405] * 4
    assert [client.headers["allow"] for client in clients] == ["POST", "GET, HEAD", "GET, HEAD", "GET, HEAD"]


def test_no_control_path_of_a_replica_can_be_reached(virtually, world):
    async def main():
        async with world(1) as proxy:
            clients = [await proxy.call(b"{}", path=path) for path in sorted(CONTROL_PATHS)]
            clients += [await proxy.call(b"{}", path=f"/v1/..{path}") for path in sorted(CONTROL_PATHS)]
            engine = next(iter(proxy.upstream.engines.values()))
            return clients, engine.control_calls.total(), len(proxy.upstream.requests)

    clients, reached, sent = virtually(main())
    assert {client.head.status for client in clients} == {404}
    assert (reached, sent) == (0, 0)


def test_own_paths_answer_for_the_fleet(virtually, world):
    async def main():
        async with world(2) as proxy:
            paths = ("/health", "/ready", "/v1/models", "/v1/models/sim", "/v1/models/nope")
            answers = {path: await proxy.call(b"", path=path, method="GET") for path in paths}
            proxy.front.is_draining = True
            answers["draining"] = await proxy.call(b"", path="/ready", method="GET")
            return answers

    answers = virtually(main())
    assert [answers[path].head.status for path in answers] == [200, 200, 200, 200, 404, 503]
    assert [model["id"] for model in answers["/v1/models"].json()["data"]] == ["sim"]
    assert answers["draining"].headers["x-turnwise-reason"] == "draining"


def test_an_answer_explains_its_placement_when_asked(virtually, world):
    async def main():
        async with world(2) as proxy:
            asked = await proxy.call(chat("hello"), headers=((b"x-turnwise-debug", b"1"), (b"x-request-id", b"mine-1")))
            plain = await proxy.call(chat("hello"))
            return asked, plain

    asked, plain = virtually(main())
    assert asked.headers["x-request-id"] == "mine-1"
    assert "reason=lowest_cost" in asked.headers["x-turnwise-placement"]
    assert "x-turnwise-placement" not in plain.headers
    assert plain.headers["x-request-id"].startswith("req-")


def test_the_stamp_is_ours_even_if_the_client_has_one(virtually, world):
    async def main():
        async with world(1) as proxy:
            await proxy.call(chat("hello"), headers=((b"X-Session-Id", b"theirs"), (b"X-Custom", b"kept")))
            return proxy

    proxy = virtually(main())
    headers = [(name.lower(), value) for name, value in proxy.upstream.requests[0][1].fields()]
    assert [value for name, value in headers if name == b"x-session-id"] == [proxy.recorder.recent[-1]["call_id"].encode()]
    assert (b"x-custom", b"kept") in headers


def test_the_edits_have_switches(virtually, world):
    async def main():
        edits = Edits(request_id=False, accept_encoding=False, session_stamp=False, include_usage=False, traceparent=False)
        async with world(1, changes={"edits": edits}) as proxy:
            body = msgspec.json.encode(chat("hello", stream=True))
            headers = ((b"Accept-Encoding", b"gzip"), (b"X-Session-Id", b"theirs"))
            await proxy.call(body, headers=headers)
            return proxy.upstream.requests[0][1], body, headers

    outgoing, body, headers = virtually(main())
    assert outgoing.body == body
    assert outgoing.fields() == headers


@pytest.mark.parametrize(
    ("body", "status", "needle"),
    [
        (b"{", 400, b"JSON"),
        (b'{"model": "sim", "messages": []}', 400, b"messages"),
        (b'{"model": "sim", "messages": "x"}', 400, b"messages"),
        (b'{"model": "sim", "messages": [{"role": "user", "content": "a"}], "stream": "yes"}', 400, b"stream"),
        (b'{"model": "other", "messages": [{"role": "user", "content": "a"}]}', 404, b"other"),
        (b'{"model": "sim", "messages": [{"role": "tool", "tool_call_id": "x", "content": "a"}]}', 400, b"tool"),
        (b'{"model": "sim", "messages": [{"role": "user", "content": "\xff"}]}', 400, b"UTF-8"),
    ],
)
def test_what_a_client_sent_wrongly_is_a_4xx_that_names_it(virtually, world, body, status, needle):
    async def main():
        async with world(1) as proxy:
            return await proxy.call(body)

    client = virtually(main())
    assert client.head.status == status
    assert needle.lower() in client.body.lower()
    assert set(client.json()["error"]) >= {"message", "type", "param", "code"}
