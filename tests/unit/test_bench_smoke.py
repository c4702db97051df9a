"""Counted work: what fails beside a baseline, and that the counters count what is known to be done."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from bench.smoke.__main__ import BASELINE, Baseline, judge
from bench.smoke.compare import compare, table
from bench.smoke.count import COUNTERS, Calls, Memory
from bench.smoke.library import LibraryError, compile_library, environment
from bench.smoke.scenes import SCENES

from turnwise.index import prompt_chain
from turnwise.types import Prompt, Segment, SegmentKind

ROOT = Path(__file__).parents[2]
PYTHON = "3.11.0"
KNOWN_WORK = """
import json, os, socket, sys
from pathlib import Path
from bench.smoke.count import Memory

memory = Memory(Path(sys.argv[1]))
ours, theirs = socket.socketpair()
body = os.urandom(600_000)


def counted(work):
    with memory:
        work()
    return memory.counts()


def talk():
    ours.send(b"x")
    theirs.recv(1)
    os.write(ours.fileno(), b"x")
    os.read(theirs.fileno(), 1)


nothing = counted(lambda: None)
print(json.dumps({
    "blocks": counted(lambda: [object() for _ in bytes(1000)])["allocations"],
    "grown": counted(lambda: bytearray(100_000).extend(bytes(50_000)))["large_bytes"],
    "small": counted(lambda: bytes(60_000))["large_bytes"],
    "copied": counted(lambda: (body + b"x", bytearray(body)))["copied_bytes"],
    "io": counted(talk)["io_calls"],
    "nothing": max(nothing["large_bytes"], nothing["copied_bytes"], nothing["io_calls"]),
}))
"""


def row(baseline, now, counter="own_calls"):
    def side(value):
        return {} if value is None else {"chat": {counter: value}}

    (found,) = compare(side(baseline), side(now))
    return found


@pytest.fixture
def library(tmp_path):
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("no C compiler is installed")
    return compile_library(tmp_path)


def test_twice_the_baseline_may_be_and_more_fails_with_both_figures():
    assert row(300.0, 600.0).failure is None
    failure = row(300.0, 1200.5).failure
    assert failure == "chat: own_calls is 1,200, 4.0 times the baseline of 300.0; at most 2 times may be"


def test_a_few_more_of_hardly_any_never_fail():
    allowance = COUNTERS["large_bytes"].allowance
    assert row(0.0, allowance, "large_bytes").failure is None
    assert row(0.0, allowance + 1, "large_bytes").failure.endswith("above a baseline of 0.0; at most 2 times may be")


def test_less_than_half_of_the_baseline_asks_for_a_new_one_and_does_not_fail():
    fallen = row(300.0, 149.0)
    assert fallen.failure is None
    assert "fallen to 0.50 of its baseline" in fallen.hint
    assert row(300.0, 150.0).hint is None
    assert row(0.0, 0.0).hint is None


def test_a_counter_that_is_no_longer_counted_fails_and_so_does_one_that_nothing_guards():
    assert "is not counted" in row(300.0, None).failure
    assert "has no baseline" in row(None, 300.0).failure
    assert "has no baseline" in row(None, 300.0, "unknown").failure


def test_the_table_has_a_line_for_each_counter_of_either_side():
    rows = compare({"chat": {"own_calls": 2.0}, "gone": {"io_calls": 1.0}}, {"chat": {"own_calls": 3.0, "io_calls": 4.0}})
    lines = [line.split() for line in table(rows).splitlines()]
    assert lines == [
        ["scene", "counter", "baseline", "now", "ratio"],
        ["chat", "own_calls", "2.0", "3.0", "1.50"],
        ["chat", "io_calls", "-", "4.0"],
        ["gone", "io_calls", "1.0", "-"],
    ]


def test_one_counter_too_high_makes_the_whole_run_fail_and_is_named(capsys):
    baseline = Baseline(python=PYTHON, scenes={"chat": {"own_calls": 10.0, "all_calls": 100.0}})
    assert judge(baseline, baseline) == 0
    assert judge(baseline, Baseline(python="3.12.0", scenes={"chat": {"own_calls": 10.0, "all_calls": 300.0}})) == 1
    printed = capsys.readouterr()
    assert [line.split(" is ")[0] for line in printed.err.splitlines()] == ["FAILED chat: all_calls"]
    assert "note: the baseline was counted on Python 3.11.0" in printed.out


def test_the_baseline_guards_every_counter_of_every_scene():
    baseline = msgspec.json.decode(BASELINE.read_bytes(), type=Baseline)
    assert {scene: set(counters) for scene, counters in baseline.scenes.items()} == {scene: set(COUNTERS) for scene in SCENES}


def test_calls_of_turnwise_are_told_from_calls_of_others_and_from_the_benchmarks_own():
    prompt = Prompt.of(b"m", [Segment(SegmentKind.USER, b"hello")])
    prompt_chain(prompt)  # learns the root
    with Calls() as calls:
        for _ in range(7):
            prompt_chain(prompt)
        shutil.which("")
    counts = calls.counts()
    assert counts["own_calls"] == 7
    assert counts["all_calls"] > 14
    (own,) = (name for name in calls.functions() if name.endswith(" prompt_chain"))
    assert calls.functions()[own] == 7
    assert not any("bench/smoke" in name for name in calls.functions())


def test_the_library_counts_blocks_copies_and_reads_that_are_known(library):
    command = [sys.executable, "-c", KNOWN_WORK, library]
    done = subprocess.run(command, cwd=ROOT, env=environment(library), capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    assert 1000 <= counts["blocks"] < 1100
    assert 149_900 <= counts["grown"] < 180_000  # glibc rounds blocks up, and bytearrays take room to grow
    assert counts["small"] == counts["nothing"] == 0
    assert counts["copied"] == 1_200_000
    assert counts["io"] == 4


def test_a_library_that_is_not_preloaded_is_refused(library):
    with pytest.raises(RuntimeError, match="preload it"):
        Memory(library)


def test_a_library_is_compiled_once(library):
    assert compile_library(library.parent) == library
    assert list(library.parent.iterdir()) == [library]


def test_without_a_compiler_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(LibraryError, match="apt-get install gcc libc6-dev"):
        compile_library(tmp_path)
