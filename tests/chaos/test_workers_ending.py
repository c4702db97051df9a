"""`turnwise serve --workers 2` as its operator sees it: workers that die, signals, and starts that cannot be."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
from tests.chaos.workers import JSON, LIMIT_S, WORKERS, Exits, placed, sims


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
