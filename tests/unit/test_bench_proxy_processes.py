"""What the proxy's benchmark starts, reads and stops; and its generator against its replica, on sockets."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bench.proxy import bodies
from bench.proxy.install import InstallError, compile_tools
from bench.proxy.processes import ProcessError, Processes, cpu_ns, free_ports, memory, on_cores, tree, wait_until_answering
from bench.proxy.results import read_load
from bench.proxy.scenarios import example

CORE = str(min(os.sched_getaffinity(0)))
MANY_LOOKS = 20_000
BUSY_CHILD = ["sh", "-c", "(while :; do :; done) & wait"]

pytestmark = pytest.mark.skipif(
    shutil.which("taskset") is None or shutil.which("setpriv") is None, reason="taskset and setpriv are not installed"
)
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def look_until(claim):
    """Look again until the claim holds; each look reads all of /proc, which is what takes the time."""
    return any(claim() for _ in range(MANY_LOOKS))


def test_the_cpu_time_and_memory_of_a_tree_are_those_of_its_children_too(tmp_path):
    with Processes(tmp_path) as processes:
        parent = processes.start("parent", BUSY_CHILD, cores=CORE)
        assert look_until(lambda: len(tree(parent.pid)) == 2)
        child = tree(parent.pid)[1]
        assert look_until(lambda: cpu_ns(child) > 10_000_000)
        of_child = cpu_ns(child)  # first, for it runs on
        assert cpu_ns(parent.pid) >= of_child
        assert memory(parent.pid).rss_kib > memory(child).rss_kib > 0
        assert 0 < memory(parent.pid).pss_kib <= memory(parent.pid).rss_kib


def test_leaving_stops_all_that_was_started_and_what_that_has_started(tmp_path):
    with Processes(tmp_path) as processes:
        parent = processes.start("parent", BUSY_CHILD, cores=CORE)
        assert look_until(lambda: len(tree(parent.pid)) == 2)
        _, child = tree(parent.pid)
    assert look_until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])
    assert not Path(f"/proc/{parent.pid}").exists()


def test_a_program_that_ends_by_itself_is_named_with_what_it_said(tmp_path):
    with Processes(tmp_path) as processes:
        process = processes.start("short", ["sh", "-c", "echo no such flag; exit 3"], cores=CORE)
        with pytest.raises(ProcessError, match=r"short ended with 3: no such flag"):
            wait_until_answering(process, free_ports(1)[0], b"")


def test_nothing_of_a_process_that_is_gone_is_counted():
    done = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    assert cpu_ns(int(done.stdout)) == 0


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    return compile_tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def replica_port(tools, tmp_path_factory):
    with Processes(tmp_path_factory.mktemp("replica")) as processes:
        ports = free_ports(2)
        replica = processes.start("replica", [str(tools / "replica"), *map(str, ports)], cores=CORE)
        for port in ports:
            wait_until_answering(replica, port, example())
        yield ports[1]


def run_load(tools, folder, conversations, **options):
    path = folder / "sent.bodies"
    bodies.write(path, conversations)
    words = [f"--{name}={value}" for name, value in {"bodies": path, "seconds": 0.2, **options}.items()]
    done = subprocess.run([*on_cores(CORE), tools / "load", *words], capture_output=True, check=True, timeout=30)
    return read_load(done.stdout)


@needs_compiler
def test_whole_answers_are_counted_and_timed(tools, replica_port, tmp_path):
    load = run_load(tools, tmp_path, bodies.single(1, 20, 1_000), port=replica_port, connections=8)
    assert (load.errors, load.first_error, load.chunks) == (0, "", 0)
    assert load.requests > 8
    assert 0 < load.latency_p50_us <= load.latency_p99_us
    assert load.transit_p50_us is None


@needs_compiler
def test_streams_end_whole_and_every_chunk_tells_its_transit(tools, replica_port, tmp_path):
    asked = bodies.single(1, 4, 1_000, {"stream": True, "max_tokens": 10, "seed": 1_000})
    load = run_load(tools, tmp_path, asked, port=replica_port, connections=4, chunks=10, **{"spread-us": 10_000})
    assert load.errors == 0
    assert load.chunks == 10 * load.requests > 0
    assert load.latency_p50_us >= 10_000  # ten chunks, one millisecond apart
    assert 0 < load.transit_p50_us <= load.transit_p99_us
    assert load.first_chunk_p50_us < load.latency_p50_us


@needs_compiler
def test_streams_of_another_length_than_asked_for_are_errors(tools, replica_port, tmp_path):
    asked = bodies.single(1, 1, 1_000, {"stream": True, "max_tokens": 3, "seed": 0})
    load = run_load(tools, tmp_path, asked, port=replica_port, chunks=4)
    assert load.requests == 0
    assert load.errors > 0
    assert "3 chunks" in load.first_error


@needs_compiler
def test_a_run_by_count_sends_exactly_that_many(tools, replica_port, tmp_path):
    load = run_load(tools, tmp_path, bodies.single(1, 4, 1_000), port=replica_port, connections=4, requests=37, seconds=20)
    assert (load.requests, load.errors) == (37, 0)


@needs_compiler
def test_a_long_conversation_is_walked_through(tools, replica_port, tmp_path):
    load = run_load(tools, tmp_path, bodies.growing(1, 1), port=replica_port, nonce=5)
    assert load.errors == 0
    assert load.requests > 12


@needs_compiler
def test_a_target_that_answers_something_else_counts_as_errors(tools, replica_port, tmp_path):
    load = run_load(tools, tmp_path, bodies.single(1, 1, 1_000, {"stream": True, "max_tokens": 2}), port=replica_port)
    assert load.requests == 0
    assert load.errors > 0


@needs_compiler
def test_a_program_that_does_not_compile_says_why(tmp_path):
    with pytest.raises(InstallError, match="does not compile"):
        compile_tools(tmp_path, flags=("-include", "no-such-file.h"))


@needs_compiler
def test_at_a_rate_calls_begin_whatever_is_under_way(tools, replica_port, tmp_path):
    asked = bodies.single(1, 64, 1_000, {"stream": True, "max_tokens": 2, "seed": 50_000})
    load = run_load(tools, tmp_path, asked, port=replica_port, connections=64, chunks=2, rate=500, seed=3)
    assert load.errors == 0
    # Two tenths of a second at this rate; each as soon as another has ended, as without a rate, would be 128 or more.
    assert 0 < load.requests <= 100
    assert load.late_p99_us > 0


@needs_compiler
def test_calls_that_are_due_within_the_lead_are_answered_and_not_timed(tools, replica_port, tmp_path):
    load = run_load(tools, tmp_path, bodies.single(1, 4, 1_000), port=replica_port, connections=4, rate=500, **{"lead-s": 10})
    assert load.errors == 0
    assert load.requests > 0
    assert (load.latency_p99_us, load.late_p99_us) == (None, None)
