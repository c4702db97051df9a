"""`turnwise serve --workers 2` as its users see it: what one worker knows the other does, and one admin port tells of all."""

import asyncio
import contextlib
import json
import time

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from tests.chaos.workers import JSON, WORKERS, chat, placed, sims


async def test_a_conversation_begun_at_one_worker_is_placed_by_the_other_where_it_is_held(serve_sims, admin_of, clients):
    async with contextlib.AsyncExitStack() as stack:
        proxy = await serve_sims(*await sims(stack, 2), arguments=WORKERS)
        admin = admin_of(proxy)
        for worker in (0, 1):
            await admin.until(lambda page: all(r["feed"] == "live" for r in page["replicas"]), "/v1/replicas", worker=worker)
        first, second = await clients(proxy, admin)
        turns = [("user", "a long question " * 100)]
        one = await first.ask("/v1/chat/completions", chat(*turns), JSON)
        await admin.until(lambda index: index["num_taught"] == 1, "/v1/index", worker=1)
        # Not what it answered: a hit through an answer counts as predicted until one of its kind was found again.
        turns += [("assistant", "as it was asked"), ("user", "and then?")]
        two = await second.ask("/v1/chat/completions", chat(*turns), JSON)
        calls = await admin.until(lambda page: len(page["calls"]) == 2, "/v1/calls")
    assert [call["worker"] for call in calls["calls"]] == [1, 0]
    assert all(abs(call["ended_at"] - time.time()) < 3600 for call in calls["calls"])
    assert placed(two)["replica"] == placed(one)["replica"]
    assert placed(two)["hit_source"] == "confirmed"
    cached = json.loads(two.body)["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert 0 < int(placed(two)["hit_tokens"]) <= cached


async def test_a_response_kept_through_one_worker_is_continued_through_the_other(serve_sims, admin_of, clients):
    async with contextlib.AsyncExitStack() as stack:
        proxy = await serve_sims(*await sims(stack, 2), arguments=[*WORKERS, "--policy", "round_robin"])
        ends = await clients(proxy, admin_of(proxy))
        body = {"model": "m", "input": "hello", "max_output_tokens": 4}
        replicas = []
        for turn in range(8):
            answer = await ends[turn % 2].ask("/v1/responses", json.dumps(body).encode(), JSON)
            replicas.append(placed(answer)["replica"])
            body["previous_response_id"] = json.loads(answer.body)["id"]
    assert len(set(replicas)) == 1


async def test_load_of_one_worker_counts_at_the_other(serve, faulty, admin_of, clients):
    finish = asyncio.Event()

    async def answer_late(replica, writer):
        await finish.wait()
        return await faulty.answer_well(replica, writer)

    replicas = [await faulty.Replica(name, answer_late).start() for name in ("r0", "r1")]
    proxy = await serve(*replicas, arguments=[*WORKERS, "--policy", "least_request"])
    admin = admin_of(proxy)
    first, second = await clients(proxy, admin)
    calls = [asyncio.create_task(first.ask("/v1/chat/completions", json.dumps(faulty.CHAT).encode(), JSON))]
    seen = await admin.until(lambda page: sum(r["num_running"] for r in page["replicas"]) == 1, "/v1/replicas", worker=1)
    (busy,) = [replica["name"] for replica in seen["replicas"] if replica["num_running"]]
    calls.append(asyncio.create_task(second.ask("/v1/chat/completions", json.dumps(faulty.CHAT).encode(), JSON)))
    await admin.until(lambda page: [r["num_running"] for r in page["replicas"]] == [1, 1], "/v1/replicas", worker=0)
    finish.set()
    went = [placed(answer)["replica"] for answer in await asyncio.gather(*calls)]
    assert went == [busy, "r1" if busy == "r0" else "r0"]
    await admin.until(lambda page: [r["num_running"] for r in page["replicas"]] == [0, 0], "/v1/replicas")


async def test_all_workers_are_on_one_page_of_metrics(serve, faulty, admin_of, clients):
    proxy = await serve(await faulty.Replica("r0", faulty.answer_well).start(), arguments=WORKERS)
    admin = admin_of(proxy)
    for client in await clients(proxy, admin):
        await client.ask("/v1/chat/completions", json.dumps(faulty.CHAT).encode(), JSON)
    await admin.until(lambda page: len(page["calls"]) == 2, "/v1/calls", limit=5)
    text = (await admin.http.get(f"{proxy.admin_url}/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert [sample.value for sample in samples if sample.name == "turnwise_calls_total"] == [1, 1]
    assert {sample.name: sample.value for sample in samples if "worker" not in sample.labels} == {
        "turnwise_workers": 2,
        "turnwise_worker_restarts_total": 0,
    }
    alone = (await admin.http.get(f"{proxy.admin_url}/metrics", params={"worker": 1})).text
    assert "turnwise_calls_total{" in alone
    assert "worker=" not in alone
    asked = {"accept": "application/openmetrics-text"}
    for query in ({}, {"worker": 1}):
        answer = await admin.http.get(f"{proxy.admin_url}/metrics", params=query, headers=asked)
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert "turnwise_calls" in {family.name for family in openmetrics.text_string_to_metric_families(answer.text)}


async def test_the_admin_port_answers_bad_questions_as_that_of_one_process_does(serve, faulty, admin_of):
    proxy = await serve(await faulty.Replica("r0", faulty.answer_well).start(), arguments=WORKERS)
    admin = admin_of(proxy)
    statuses = [
        (await admin.http.request(method, proxy.admin_url + path)).status_code
        for method, path in [
            ("GET", "/v1/calls?limit=x"),
            ("GET", "/v1/calls?limit=0"),
            ("POST", "/v1/replicas/nobody/drain"),
            ("GET", "/nothing"),
            ("GET", "/v1/replicas?worker=9"),
            ("GET", "/health"),
            ("GET", "/v1/settings"),
        ]
    ]
    assert statuses == [400, 200, 404, 404, 404, 200, 200]
    assert (await admin.get("/v1/settings"))["server"]["workers"] == 2


async def test_programs_of_all_workers_are_listed_shown_and_ended_on_one_port(serve_sims, admin_of, clients):
    async with contextlib.AsyncExitStack() as stack:
        proxy = await serve_sims(*await sims(stack, 1), arguments=WORKERS)
        admin = admin_of(proxy)
        first, second = await clients(proxy, admin)
        for name, client in (("alone", first), ("both", first), ("both", second), ("both", second)):
            named = (*JSON, ("x-turnwise-program", name))
            assert (await client.ask("/v1/chat/completions", chat(("user", f"hello {name}")), named)).status == 200
        listed = {program["name"]: program for program in (await admin.get("/programs"))["programs"]}
        of_first = {program["name"] for program in (await admin.get("/programs", worker=0))["programs"]}
        both = await admin.get(f"/v1/programs/{listed['both']['id']}")
        page = await admin.http.get(f"{proxy.admin_url}/")
        unknown = await admin.http.get(f"{proxy.admin_url}/programs/nobody")
        wrong = await admin.http.get(f"{proxy.admin_url}/programs?state=alive")
        ended = await admin.http.post(f"{proxy.admin_url}/programs/both/end")
        left = (await admin.get("/programs", state="live"))["programs"]
    assert {name: (program["calls"], program["workers"]) for name, program in listed.items()} == {
        "alone": (1, [0, 1]),
        "both": (3, [0, 1]),
    }
    assert of_first == {"alone", "both"}
    assert len(both["calls"]) == 3
    assert "<title>Turnwise</title>" in page.text
    assert "content-security-policy" in page.headers
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "id")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "state")
    assert (ended.status_code, ended.json()["outcome"], ended.json()["calls"]) == (200, "asked", 3)
    assert [program["name"] for program in left] == ["alone"]


async def test_what_no_client_should_say_stops_no_worker(serve_sims, admin_of, clients):
    wide = "\U0001f600"
    results = [{"role": "tool", "tool_call_id": f"{at:02}" + wide * 254, "content": "x"} for at in range(64)]
    many = {"model": "m", "messages": [{"role": "user", "content": "Go."}, *results], "max_tokens": 4}
    async with contextlib.AsyncExitStack() as stack:
        proxy = await serve_sims(*await sims(stack, 1), arguments=WORKERS)
        admin = admin_of(proxy)
        first, second = await clients(proxy, admin)
        before = await admin.workers()
        for client in (first, second):
            refused = await client.ask("/v1/chat/completions", chat(("user", "hello"), model="m" * 66_000), JSON)
            assert refused.status == 404
            assert (await client.ask("/v1/chat/completions", json.dumps(many).encode(), JSON)).status < 500
        for worker in (0, 1):
            # A worker hears that a call of its sibling began before it hears that it ended.
            page = await admin.until(
                lambda page: [(row["calls"], row["running"]) for row in page["programs"]] == [(2, 0), (2, 0)],
                "/programs",
                worker=worker,
            )
            assert all(len(row["model"]) <= 256 for row in page["programs"])
        after = await admin.workers()
    assert [worker["pid"] for worker in after] == [worker["pid"] for worker in before]
