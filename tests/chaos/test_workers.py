"""`turnwise serve --workers 2` as its users and its operator see it: real processes, signals and sockets."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from turnwise.engines.sim import SimEngine, SimOptions, serve_sim

WORKERS = ["--workers", "2"]
JSON = (("Content-Type", "application/json"), ("x-turnwise-debug", "1"))
LIMIT_S = 30
MAX_CONNECTIONS = 128
"""Opened until every worker has one: the kernel deals them out by their port."""


class Admin:
    """The admin API of a running proxy."""

    def __init__(self, proxy, http):
        self.proxy = proxy
        self.http = http

    async def get(self, path, **query):
        return (await self.http.get(f"{self.proxy.admin_url}{path}", params=query)).json()

    async def workers(self):
        return (await self.get("/v1/workers"))["workers"]

    async def until(self, condition, path, **query):
        async with asyncio.timeout(LIMIT_S):
            while True:
                page = await self.get(path, **query)
                if condition(page):
                    return page

    async def num_connections(self):
        text = (await self.http.get(f"{self.proxy.admin_url}/metrics")).text
        return {
            sample.labels["worker"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "turnwise_client_connections"
        }


@pytest.fixture
async def admin_of():
    async with httpx.AsyncClient(timeout=LIMIT_S, trust_env=False) as http:
        yield lambda proxy: Admin(proxy, http)


@pytest.fixture
async def clients(faulty):
    """Connects one client to each worker: `first, second = await clients(proxy, admin)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def connect(proxy, admin, count=2):
            found = {}
            before = await admin.num_connections()
            for _ in range(MAX_CONNECTIONS):
                client = await faulty.RawClient.connect(proxy.url)
                stack.callback(client.close)
                assert (await client.ask("/health", method="GET")).status == 200
                now = await admin.num_connections()
                (worker,) = [name for name in now if now[name] > before[name]]
                found.setdefault(worker, client)
                before = now
                if len(found) == count:
                    return [found[worker] for worker in sorted(found)]
            raise AssertionError("the kernel deals every connection to one worker")

        yield connect


class Exits:
    """Waits for processes that are not our children."""

    def __init__(self, *pids):
        self.fds = [os.pidfd_open(pid) for pid in pids]

    async def wait(self):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(LIMIT_S):
            for fd in self.fds:
                ended = asyncio.Event()
                loop.add_reader(fd, ended.set)
                await ended.wait()
                loop.remove_reader(fd)
                os.close(fd)


def chat(*messages, model="m"):
    turns = [{"role": role, "content": content} for role, content in messages]
    return json.dumps({"model": model, "messages": turns, "max_tokens": 4}).encode()


def placed(answer):
    assert answer.status == 200, answer.body
    return dict(part.split("=", 1) for part in answer.fields["x-turnwise-placement"].split(" "))


async def sims(stack, count):
    return [(await stack.enter_async_context(serve_sim(SimEngine(SimOptions(model="m", speed=100))))).url for _ in range(count)]


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


async def test_a_worker_that_is_killed_is_started_again_while_the_other_serves(serve, faulty, admin_of, clients):
    replica = await faulty.Replica("r0", faulty.answer_well).start()
    proxy = await serve(replica, arguments=WORKERS)
    admin = admin_of(proxy)
    first, second = await clients(proxy, admin)
    drained = await admin.http.post(f"{proxy.admin_url}/v1/replicas/r0/drain")
    assert (drained.status_code, drained.json()["is_draining"]) == (200, True)
    before = await admin.workers()
    os.kill(before[0]["pid"], signal.SIGKILL)
    with pytest.raises(asyncio.IncompleteReadError):
        await first.read()
    assert (await second.ask("/health", method="GET")).status == 200
    page = await admin.until(
        lambda page: page["workers"][0]["num_restarts"] and page["workers"][0]["is_serving"], "/v1/workers"
    )
    assert page["workers"][0]["pid"] != before[0]["pid"]
    assert page["workers"][1] == before[1]
    assert (await admin.get("/v1/replicas", worker=0))["replicas"][0]["is_healthy"]  # before it takes clients
    assert [(await admin.get("/v1/replicas", worker=n))["replicas"][0]["is_draining"] for n in (0, 1)] == [True, True]
    await admin.http.post(f"{proxy.admin_url}/v1/replicas/r0/undrain")
    first, second = await clients(proxy, admin)
    for client in (first, second):
        assert (await client.ask("/v1/chat/completions", json.dumps(faulty.CHAT).encode(), JSON)).status == 200


async def test_a_restarted_worker_still_knows_which_replica_holds_a_response(serve_sims, admin_of, clients):
    async with contextlib.AsyncExitStack() as stack:
        proxy = await serve_sims(*await sims(stack, 3), arguments=[*WORKERS, "--policy", "round_robin"])
        admin = admin_of(proxy)
        first, _ = await clients(proxy, admin)
        body = {"model": "m", "input": "hello", "max_output_tokens": 4}
        kept = [await first.ask("/v1/responses", json.dumps(body).encode(), JSON) for _ in range(3)]
        os.kill((await admin.workers())[0]["pid"], signal.SIGKILL)
        await admin.until(lambda page: page["workers"][0]["num_restarts"] and page["workers"][0]["is_serving"], "/v1/workers")
        assert all(r["is_routable"] for r in (await admin.get("/v1/replicas", worker=0))["replicas"])
        first, _ = await clients(proxy, admin)
        for answer in kept:
            body["previous_response_id"] = json.loads(answer.body)["id"]
            later = await first.ask("/v1/responses", json.dumps(body).encode(), JSON)
            assert placed(later)["replica"] == placed(answer)["replica"]


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_calls_of_all_workers_end(serve, faulty, admin_of, clients, number):
    finish = asyncio.Event()

    async def answer_late(replica, writer):
        writer.write(faulty.STREAM_HEAD + faulty.chunk(faulty.event("first")))
        await finish.wait()
        writer.write(faulty.chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()
        return True

    replica = await faulty.Replica("r0", answer_late).start()
    proxy = await serve(replica, arguments=WORKERS)
    admin = admin_of(proxy)
    ends = await clients(proxy, admin)
    workers = Exits(*[worker["pid"] for worker in await admin.workers()])
    calls = [asyncio.create_task(end.ask("/v1/chat/completions", json.dumps(faulty.CHAT).encode(), JSON)) for end in ends]
    await admin.until(lambda page: page["replicas"][0]["num_running"] == 2, "/v1/replicas", worker=0)
    proxy.process.send_signal(number)
    await _until_refused(proxy, faulty)
    finish.set()
    answers = await asyncio.gather(*calls)
    assert [b"[DONE]" in answer.body for answer in answers] == [True, True]
    async with asyncio.timeout(LIMIT_S):
        assert await proxy.process.wait() == 0
    await workers.wait()


async def _until_refused(proxy, faulty):
    """Wait until no worker listens any more."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(ConnectionResetError):  # it waited in the queue of a listener that closed
                try:
                    (await faulty.RawClient.connect(proxy.url)).close()
                except ConnectionRefusedError:
                    return


async def test_a_second_signal_cuts_the_calls_of_all_workers(serve, faulty, admin_of, clients):
    async def never_end(_replica, writer):
        writer.write(faulty.STREAM_HEAD + faulty.chunk(faulty.event("first")))
        await asyncio.Event().wait()

    proxy = await serve(await faulty.Replica("r0", never_end).start(), arguments=WORKERS)
    admin = admin_of(proxy)
    first, _ = await clients(proxy, admin)
    workers = Exits(*[worker["pid"] for worker in await admin.workers()])
    call = asyncio.create_task(first.ask("/v1/chat/completions", json.dumps(faulty.CHAT).encode(), JSON))
    await admin.until(lambda page: page["replicas"][0]["num_running"] == 1, "/v1/replicas")
    proxy.process.send_signal(signal.SIGTERM)
    await _until_refused(proxy, faulty)
    proxy.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(LIMIT_S):
        assert await proxy.process.wait() == 1
    await workers.wait()
    with contextlib.suppress(asyncio.IncompleteReadError):
        assert b"[DONE]" not in (await call).body


async def test_workers_do_not_outlive_a_supervisor_that_is_killed(serve, faulty, admin_of):
    proxy = await serve(await faulty.Replica("r0", faulty.answer_well).start(), arguments=WORKERS)
    workers = Exits(*[worker["pid"] for worker in await admin_of(proxy).workers()])
    proxy.process.kill()
    await proxy.process.wait()
    await workers.wait()
    await _until_refused(proxy, faulty)


def serve_once(*arguments, **environ):
    command = [sys.executable, "-m", "turnwise.proxy", "serve", "--replica", "http://127.0.0.1:9", "--admin-port", "0"]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, timeout=LIMIT_S, env={**os.environ, **environ}
    )
    return done.returncode, done.stderr.splitlines()


async def test_a_port_that_other_workers_share_is_taken_and_that_is_said_once(serve, faulty):
    proxy = await serve(await faulty.Replica("r0", faulty.answer_well).start(), arguments=WORKERS)
    port = proxy.url.rpartition(":")[2]
    status, said = await asyncio.to_thread(serve_once, "--port", port, *WORKERS)
    assert status == 1
    assert len(said) == 1
    assert "cannot listen" in said[0]
    assert "in use" in said[0]


def test_a_folder_in_which_no_worker_can_have_a_socket_is_said_once(tmp_path):
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    status, said = serve_once("--port", "0", *WORKERS, TMPDIR=str(folder))
    assert status == 1
    assert len(said) == 1
    assert "TMPDIR" in said[0]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_an_impossible_number_of_workers_is_refused(count):
    status, said = serve_once(f"--set=server.workers={count}")
    assert status == 2
    assert len(said) == 1
    assert "server.workers" in said[0]


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
            page = await admin.until(
                lambda page: sum(row["calls"] for row in page["programs"]) == 4, "/programs", worker=worker
            )
            assert [row["running"] for row in page["programs"]] == [0, 0]
            assert all(len(row["model"]) <= 256 for row in page["programs"])
        after = await admin.workers()
    assert [worker["pid"] for worker in after] == [worker["pid"] for worker in before]
