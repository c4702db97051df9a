"""`turnwise replay` as a whole: the real proxy on a virtual clock, and its command line."""

import json
import random
from array import array
from pathlib import Path

import pytest

from turnwise.proxy.commands import main
from turnwise.proxy.replay.drive import Pacing
from turnwise.proxy.replay.results import summarize
from turnwise.proxy.replay.trace import Trace, TraceCall, TraceSession
from turnwise.proxy.replay.virtual import ReplicaSize, VirtualFleet, replay_virtual
from turnwise.settings import PolicySettings

SAMPLES = Path(__file__).parent.parent / "data" / "traces"
FLEET = VirtualFleet(engine="fifo", replicas=(ReplicaSize(64_000, 8000.0),) * 3)


def agents(seed=1, count=10, turns=8):
    """Sessions that grow by a block or two a turn behind a head that a third of them share."""
    rng = random.Random(seed)
    numbers = iter(range(100, 10_000))
    sessions = []
    for name in range(count):
        blocks = [name % 3, name % 3 + 10, name % 3 + 20]
        calls = []
        for turn in range(turns):
            blocks += [next(numbers) for _ in range(rng.randint(1, 2))]
            calls.append(
                TraceCall(
                    at_s=name * 0.7 + turn * 4.0,
                    think_s=rng.uniform(0.5, 3.0),
                    after=(turn - 1,) if turn else (),
                    prompt_tokens=len(blocks) * 512 + rng.randint(1, 511),
                    output_tokens=rng.randint(5, 40),
                    blocks=array("q", blocks),
                )
            )
        sessions.append(TraceSession(name=f"s{name}", calls=tuple(calls)))
    return Trace(name="agents", format="made", block_size=512, has_clock=True, sessions=tuple(sessions))


def replayed(policy, *, trace=None, pacing=None, fleet=FLEET):
    seen = []
    results = replay_virtual(trace or agents(), fleet, PolicySettings(name=policy), pacing or Pacing(is_open=True), seen.append)
    assert len(seen) == len(results)
    return results


def summary(policy, **options):
    results = replayed(policy, **options)
    return summarize(policy, results, num_replicas=3, wall_s=0.0)


@pytest.mark.parametrize("is_open", [True, False])
def test_kv_aware_placement_finds_more_and_answers_sooner_than_round_robin(is_open):
    pacing = Pacing(is_open=is_open, live=6, ramp_s=5.0)
    ours, theirs = summary("kv_aware", pacing=pacing), summary("round_robin", pacing=pacing)
    assert ours.num_calls == theirs.num_calls == 80
    assert ours.hit_ratio > theirs.hit_ratio * 1.2
    assert ours.first_token_mean_s < theirs.first_token_mean_s * 0.8


def test_equal_seeds_give_equal_runs_and_other_seeds_other_ones():
    def run(seed):
        return replayed("kv_aware", pacing=Pacing(is_open=False, live=4, ramp_s=5.0, seed=seed))

    assert run(1) == run(1)
    assert [result.arrived_s for result in run(1)] != [result.arrived_s for result in run(2)]


def test_a_faster_replica_gets_more_of_the_work():
    fleet = VirtualFleet(engine="fifo", replicas=(ReplicaSize(64_000, 2000.0), ReplicaSize(64_000, 32_000.0)))
    results = replayed("kv_aware", fleet=fleet)
    assert sum(result.replica == "r1" for result in results) > len(results) / 2


def test_the_engine_with_steps_serves_the_same_trace():
    fleet = VirtualFleet(engine="default", replicas=(ReplicaSize(64_000, 0.0),) * 2, preset="tiny")
    results = replayed("kv_aware", trace=agents(count=2, turns=3), fleet=fleet)
    assert len(results) == 6
    assert all(result.prompt_tokens > 1024 for result in results)
    assert sum(result.cached_tokens for result in results) > 0


def replay(*args):
    return main(["replay", *map(str, args)])


def test_the_command_writes_a_table_json_and_a_plot(tmp_path, capsys):
    args = ("--replicas", 2, "--kv-tokens", 20_000, "--json", tmp_path / "r.json", "--plot", tmp_path / "r.svg")
    assert replay(SAMPLES / "mooncake.jsonl", "--policy", "prefix", "--policy", "kv_aware:miss_weight=3", *args) == 0
    document = json.loads((tmp_path / "r.json").read_text())
    assert [run["policy"] for run in document["runs"]] == ["prefix", "kv_aware:miss_weight=3"]
    assert document["runs"][0]["num_calls"] == document["num_calls"] == 4
    assert 0 < document["bounds"]["pooled_lru"] <= document["bounds"]["pooled_belady"] < 1
    assert (tmp_path / "r.svg").read_text().startswith("<svg")
    said = capsys.readouterr()
    assert "pooled LRU" in said.out
    assert "4/4" in said.err


@pytest.mark.parametrize("name", ["weka.jsonl", "lmcache", "fan_in.json"])
def test_every_format_is_played(name, capsys):
    assert replay(SAMPLES / name, "--policy", "kv_aware", "--replicas", 2) == 0
    assert "kv_aware" in capsys.readouterr().out


def test_a_broken_trace_is_named_with_its_line_and_ends_with_2(tmp_path, capsys):
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes((SAMPLES / "mooncake.jsonl").read_bytes()[:-9])
    assert replay(broken) == 2
    assert f"turnwise replay: {broken}:4: is not valid JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["weka.jsonl", "--open"], "does not say when its sessions began"),
        (["mooncake.jsonl", "--policy", "best"], "--policy best: there is no policy 'best'; there are kv_aware, prefix, "),
        (["mooncake.jsonl", "--policy", "kv_aware:speed=3"], "--policy kv_aware:speed=3: "),
        (["mooncake.jsonl", "--policy", "kv_aware:name=prefix"], "is not KEY=VALUE"),
        (["mooncake.jsonl", "--plot", "p.gif"], "--plot writes .svg and .png"),
        (["mooncake.jsonl", "--json", "/no/such/folder/r.json"], "there is no folder"),
        (["mooncake.jsonl", "--url", "http://h:1", "--policy", "prefix"], "not with --url"),
        (["mooncake.jsonl", "--url", "h:1"], "--url must begin with http://"),
        (["mooncake.jsonl", "--format", "weka"], "mooncake.jsonl:1: is not of this format"),
        (["mooncake.jsonl", "--sessions", "3", "--format", "lmcache"], "is not of this format"),
    ],
)
def test_an_option_that_cannot_be_ends_with_2_and_says_why(args, problem, capsys):
    assert replay(SAMPLES / args[0], *args[1:]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert "Traceback" not in error


@pytest.mark.parametrize("args", [["--replica", "kv=5"], ["--limit", "0"], ["--speedup", "nan"], ["--open", "--closed"]])
def test_an_argument_out_of_range_is_refused(args):
    with pytest.raises(SystemExit) as caught:
        replay(SAMPLES / "mooncake.jsonl", *args)
    assert caught.value.code == 2


def test_a_proxy_that_is_not_there_ends_with_1(capsys, unused_tcp_port):
    assert replay(SAMPLES / "mooncake.jsonl", "--url", f"http://127.0.0.1:{unused_tcp_port}") == 1
    assert "does not say which models it serves" in capsys.readouterr().err
