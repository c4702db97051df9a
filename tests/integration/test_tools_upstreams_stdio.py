"""Upstreams that are programs: what they are given, how they break, and that nobody else notices."""

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.integration.tools_upstreams_world import BOUND_S, SCRIPTED, is_alive, running, scripted, turn

from turnwise.tools_gateway.settings import UpstreamSettings
from turnwise.tools_gateway.upstreams import State
from turnwise.tools_gateway.upstreams.pace import MAX_S
from turnwise.tools_gateway.upstreams.yielding import can_be_taken_back
from turnwise.tools_gateway.values import Fault


async def test_both_revisions_are_spoken():
    async with running(scripted("new"), scripted("old", "2025-11-25")) as world:
        await world.up("new", "old")
        assert [world.facts(name)[0].era for name in ("new", "old")] == ["2026-07-28", "2025-11-25"]
        for name in ("new", "old"):
            assert await world.call(name, "echo", {"a": [1]}) == {"a": [1]}
            assert world.tools[world.credential(name)] == ["echo", "surroundings"]


async def test_a_program_is_given_nothing_that_the_operator_did_not_name():
    environ = {"TOKEN": "named", "GATEWAY_SECRET": "not named", "PATH": "/elsewhere"}
    kept = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(kept, True)
    async with running(scripted("one", env={"FIXED": "1"}, env_from=("TOKEN", "ABSENT")), environ=environ) as world:
        found = await world.call("one", "surroundings")
    os.close(kept)
    given = {name: value for name, value in found["environment"].items() if name != "LC_CTYPE"}
    assert given == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": found["folder"],
        "TMPDIR": found["folder"],
        "TOKEN": "named",
        "FIXED": "1",
    }
    assert set(found["descriptors"]) == {"0", "1", "2"}
    assert found["leads_group"]
    assert not os.access(found["folder"], os.F_OK)


async def test_a_program_works_where_the_operator_says(tmp_path):
    async with running(scripted("one", cwd=str(tmp_path))) as world:
        assert (await world.call("one", "surroundings"))["folder"] == str(tmp_path)
    assert tmp_path.exists()


async def test_a_program_gives_way_to_all_others_until_it_has_greeted():
    async with running(scripted("one")) as world:
        found = await world.call("one", "surroundings")
        assert found["began_with"] == (os.SCHED_IDLE if can_be_taken_back() else os.SCHED_OTHER)
        async with asyncio.timeout(BOUND_S):
            while os.sched_getscheduler(found["pid"]) != os.SCHED_OTHER:
                await turn()


@pytest.mark.skipif(not can_be_taken_back(), reason="no program gives way where that cannot be taken back")
async def test_a_program_that_does_not_greet_gives_way_no_more_after_a_while_nor_does_what_it_started(tmp_path):
    program = f"import os, time; pid = os.fork(); open({str(tmp_path / 'pid')!r} + str(pid), 'w').close(); time.sleep(600)"
    async with running(UpstreamSettings(name="one", command=(sys.executable, "-I", "-S", "-c", program))):
        async with asyncio.timeout(BOUND_S):
            while len(files := list(tmp_path.iterdir())) < 2:
                await turn()
            pid = max(int(file.name.removeprefix("pid")) for file in files)
            while os.sched_getscheduler(pid) != os.SCHED_OTHER:
                await turn()


async def test_a_program_that_cannot_be_started_says_so_and_touches_nobody():
    async with running(UpstreamSettings(name="none", command=("/no/such/program",)), scripted("one")) as world:
        await world.up("one")
        fault = await world.fault("none", "echo")
        assert fault.fault is Fault.UPSTREAM_DOWN
        assert "cannot be started" in fault.message


async def test_a_crash_fails_what_was_asked_and_is_healed():
    async with running(scripted("one"), scripted("two")) as world:
        before = await world.up("one", "two")
        fault = await world.fault("one", "crash")
        assert fault.fault is Fault.UPSTREAM_BROKE
        assert "status 3" in fault.message
        await world.up("one", but_not=before.pid)
        assert await world.call("one", "echo", {"n": 1}) == {"n": 1}
        assert world.facts("two")[0].num_dials == 1


async def test_a_crash_takes_with_it_what_the_program_started():
    async with running(scripted("one")) as world:
        child = (await world.call("one", "child"))["pid"]
        before = await world.up("one")
        await world.fault("one", "crash")
        await world.up("one", but_not=before.pid)
        assert not is_alive(child)


async def test_a_call_under_way_when_its_program_dies_is_not_made_again_in_the_next():
    async with running(scripted("one")) as world:
        pid = (await world.up("one")).pid
        hung = asyncio.create_task(world.call("one", "hang"))
        await turn()
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait((hung,))
        assert hung.exception().fault is Fault.UPSTREAM_BROKE
        await world.up("one", but_not=pid)
        assert await world.call("one", "echo", {"n": 1}) == {"n": 1}


async def test_a_result_of_a_gigabyte_is_refused_in_bounded_memory():
    async with running(scripted("one"), scripted("two")) as world:
        before = await world.up("one", "two")
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        large = asyncio.create_task(world.fault("one", "large", {"megabytes": 1000}))
        while not large.done():
            assert await world.call("two", "echo", {"n": 1}) == {"n": 1}
        assert large.result().fault is Fault.TOO_LARGE
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 64 * 1024
        await world.up("one", but_not=before.pid)


async def test_a_result_that_is_too_large_fails_its_own_call_and_the_program_goes_on():
    async with running(scripted("one")) as world:
        await world.up("one")
        large = asyncio.create_task(world.fault("one", "large", {"megabytes": 12}))
        await asyncio.sleep(0)
        assert await world.call("one", "echo", {"n": 1}) == {"n": 1}
        assert (await large).fault is Fault.TOO_LARGE
        assert world.facts("one")[0].num_dials == 1


async def test_noise_on_the_output_is_read_past():
    async with running(scripted("one")) as world:
        assert await world.call("one", "noise", {"n": 1}) == {"n": 1}
        assert world.facts("one")[0].num_dials == 1


async def test_a_flood_is_read_slowly_and_touches_nobody():
    async with running(scripted("one"), scripted("two")) as world:
        await world.up("one", "two")
        flooded = asyncio.create_task(world.fault("one", "flood", within_s=0.5))
        while not flooded.done():
            assert await world.call("two", "echo", {"n": 1}) == {"n": 1}
        assert flooded.result().fault is Fault.DEADLINE


async def test_a_result_that_is_written_byte_by_byte_is_a_result():
    async with running(scripted("one")) as world:
        assert await world.call("one", "spell", {"text": "x" * 20_000}) == {"text": "x" * 20_000}
        assert world.facts("one")[0].num_dials == 1


async def test_what_a_program_said_before_it_ended_is_heard_although_it_was_read_slowly():
    async with running(scripted("one")) as world:
        assert await world.call("one", "last", {"n": 1}) == {"n": 1}


async def test_a_program_that_hangs_ends_a_call_at_its_deadline_and_is_started_again():
    async with running(scripted("one"), scripted("two")) as world:
        before = await world.up("one", "two")
        assert (await world.fault("one", "hang", within_s=0.05)).fault is Fault.DEADLINE
        await world.up("one", but_not=before.pid)
        assert await world.call("one", "echo", {"n": 1}) == {"n": 1}
        assert world.facts("two")[0].num_dials == 1


async def test_secrets_that_a_program_was_given_do_not_reach_the_log(caplog):
    caplog.set_level(logging.INFO)
    async with running(scripted("one", env_from=("TOKEN",)), environ={"TOKEN": "canary-7"}) as world:
        await world.call("one", "complain", {"text": "my token is canary-7\x1b[31m"})
        while "my token" not in caplog.text:
            await turn()
    assert "canary-7" not in caplog.text
    assert "[secret]" in caplog.text
    assert "\x1b" not in caplog.text


async def test_a_secret_of_the_file_does_not_reach_the_model_the_page_or_the_log(caplog):
    caplog.set_level(logging.INFO)
    program = "import os,sys; sys.stderr.write('cannot log in with ' + os.environ['TOKEN']); sys.stderr.flush(); os._exit(3)"
    upstream = UpstreamSettings(name="one", command=(sys.executable, "-I", "-S", "-c", program), env={"TOKEN": "canary-77"})
    async with running(upstream) as world:
        fault = await world.fault("one", "echo")
        assert "cannot log in with [secret]" in fault.message
        assert "canary" not in str(world.facts("one"))
    assert "canary" not in caplog.text


async def test_no_program_and_no_descriptor_is_left_of_many_restarts():
    async with running(scripted("one"), budget=None) as world:
        pid, pids = (await world.up("one")).pid, set()
        num_open = num_descriptors()
        for _ in range(5):
            os.kill(pid, signal.SIGKILL)
            pids.add(pid)
            pid = (await world.up("one", but_not=pid)).pid
        assert not [pid for pid in pids if is_alive(pid)]
        async with asyncio.timeout(BOUND_S):
            while num_descriptors() > num_open:  # the last one's threads are still looked at
                await turn()


async def test_a_program_that_dies_as_it_starts_is_left_alone_for_a_while():
    dead = UpstreamSettings(name="dead", command=(sys.executable, "-I", "-c", "raise SystemExit(7)"))
    async with running(dead, budget=3) as world:
        while world.facts("dead")[0].state is not State.BROKEN:
            await turn()
        facts = world.facts("dead")[0]
        assert facts.num_dials == 3
        assert facts.next_dial_s > MAX_S
        assert "status 7" in (await world.fault("dead", "echo")).message


def test_no_program_outlives_a_gateway_that_is_killed():
    gateway = f"""
import asyncio, random, time
from turnwise.tools_gateway.settings import Settings, UpstreamSettings
from turnwise.tools_gateway.upstreams import GatewayUpstreams

async def main():
    upstream = UpstreamSettings(name="one", command=({sys.executable!r}, "-I", "-S", {SCRIPTED!r}))
    def on_tools(*_):
        asyncio.get_running_loop().call_soon(lambda: print(upstreams.facts()[0].pid, flush=True))
    upstreams = GatewayUpstreams(
        Settings(upstreams=(upstream,)), {{}}, on_tools=on_tools, clock=time.monotonic, rng=random.Random(1)
    )
    await upstreams.run()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", gateway], stdout=subprocess.PIPE) as process:
        pid = int(process.stdout.readline())
        assert is_alive(pid)
        process.kill()
    given_up = time.monotonic() + 20.0
    while is_alive(pid) and time.monotonic() < given_up:
        os.sched_yield()
    assert not is_alive(pid)


def num_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))
