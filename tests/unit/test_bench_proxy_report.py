"""What the proxy's benchmark says of a run: figures by round, bars, tables, plots."""

import xml.etree.ElementTree as ET

import msgspec
import pytest
from bench.proxy import plot
from bench.proxy.__main__ import as_make, main
from bench.proxy.bars import cheapest_rust, growth, judge
from bench.proxy.peers import DIRECT, KV_AWARE, NGINX, ROUND_ROBIN
from bench.proxy.processes import Memory
from bench.proxy.report import markdown, renew_paper
from bench.proxy.results import Load, Run, Sample, Target, read_load

PRINTED = b"""{"requests": 100, "errors": 2, "first_error": "closed", "elapsed_s": 0.5, "chunks": 0, "cpu_s": 0.1,
"latency_p50_us": 20.5, "latency_p99_us": 40.0}"""

CPU_US = {
    # scenario: target: CPU microseconds a unit in each of three rounds
    "small64": {KV_AWARE: (30, 60, 40), NGINX: (20, 20, 20), "smg": (200, 200, 200), "sglang-router": (100, 100, 125)},
    "next600k": {KV_AWARE: (600, 600, 600), NGINX: (100, 100, 100), "smg": (1_000, 1_000, 1_000)},
    "stream2ms": {KV_AWARE: (13, 13, 13), NGINX: (10, 10, 10)},
}
FIRST_CHUNK_US = {KV_AWARE: (250.0, 900.0), NGINX: (100.0, 200.0)}


def sample(number, scenario, target, cpu_us, loaded_s=10.0, rss_kib=1_000, errors=0):
    is_stream = scenario.startswith("stream")
    p50, p99 = FIRST_CHUNK_US.get(target, (None, None)) if is_stream else (None, None)
    load = Load(
        requests=10,
        errors=errors,
        first_error="",
        elapsed_s=2.0,
        chunks=1_000 if is_stream else 0,
        cpu_s=0.1,
        latency_p50_us=100.0 + cpu_us,
        latency_p99_us=300.0,
        first_chunk_p50_us=p50,
        first_chunk_p99_us=p99,
    )
    units = 1_000 if is_stream else 10
    memory = None if target == DIRECT else Memory(rss_kib=rss_kib, pss_kib=rss_kib // 2)
    return Sample(
        round=number,
        scenario=scenario,
        target=target,
        load=load,
        cpu_ns=cpu_us * units * 1_000,
        memory=memory,
        loaded_s=loaded_s,
    )


def run_of(samples, targets=(DIRECT, KV_AWARE, NGINX, "smg", "sglang-router")):
    return Run(
        machine={"cpu": "a | b", "cores": "2", "kernel": "6", "python": "3.11"},
        commit="abc",
        is_dirty=True,
        began="2026-01-02T03:04:05+00:00",
        command="make bench-proxy",
        seed=1,
        rounds=3,
        seconds=1.0,
        targets=tuple(
            Target(
                name=name, title=name.upper(), version="1", command=name, is_rust_cache_aware=name in ("smg", "sglang-router")
            )
            for name in targets
        ),
        scenarios=tuple(dict.fromkeys(one.scenario for one in samples)),
        samples=tuple(samples),
    )


def whole_run():
    samples = [
        sample(number, scenario, target, figures[number])
        for scenario, by_target in CPU_US.items()
        for target, figures in {**by_target, DIRECT: (0, 0, 0)}.items()
        for number in range(3)
    ]
    return run_of(samples)


def bars_of(run):
    return {bar.measure.partition(" (")[0]: (bar.measured, bar.holds) for bar in judge(run)}


def test_what_the_generator_prints_is_read_and_what_it_leaves_out_is_none():
    load = read_load(PRINTED)
    assert (load.requests, load.errors, load.latency_p50_us, load.transit_p50_us) == (100, 2, 20.5, None)


@pytest.mark.parametrize("printed", [b"", b"{}", b'{"requests": "many"}'])
def test_what_the_generator_does_not_print_is_an_error(printed):
    with pytest.raises(msgspec.DecodeError):
        read_load(printed)


def test_cpu_is_divided_by_chunks_where_a_sample_streamed_and_else_by_requests():
    assert sample(0, "small64", NGINX, 20).cpu_us_per_unit == pytest.approx(20)
    assert sample(0, "stream2ms", NGINX, 20).cpu_us_per_unit == pytest.approx(20)


def test_ratios_and_differences_are_taken_within_a_round_before_the_median():
    run = run_of([sample(n, "small64", KV_AWARE, ours) for n, ours in enumerate((10, 90, 40))]
                 + [sample(n, "small64", NGINX, theirs) for n, theirs in enumerate((5, 30, 40))])  # fmt: skip
    assert run.ratio("small64", KV_AWARE, NGINX, lambda one: one.cpu_us_per_unit) == pytest.approx(2.0)
    assert run.added("small64", KV_AWARE, NGINX, lambda one: one.load.latency_p50_us) == pytest.approx(5.0)
    assert run.ratio("small64", KV_AWARE, "smg", lambda one: one.cpu_us_per_unit) is None


def test_the_cheapest_router_is_of_the_scenario_and_never_nginx():
    run = whole_run()
    assert cheapest_rust(run, "small64") == "sglang-router"
    assert cheapest_rust(run, "next600k") == "smg"
    assert cheapest_rust(run, "stream2ms") is None


def test_each_bar_is_judged_by_its_own_figure():
    bars = bars_of(whole_run())
    assert bars["CPU a request, 1 KB, 64 connections, over nginx"] == ("2.00", True)
    assert bars["the same over the cheapest cache-aware router"] == ("0.32", True)
    assert bars["CPU of the next turn of 600 KB over the cheapest cache-aware router"] == ("0.60", False)
    assert bars["CPU a chunk, 64 streams at 2 ms, over nginx"] == ("1.30", True)
    assert bars["first chunk p50 there, ms more than nginx"] == ("0.15", True)
    assert bars["first chunk p99 there, over nginx, of the medians of rounds"] == ("4.50", False)


def test_what_was_not_measured_is_neither_held_nor_broken():
    bars = judge(run_of([]))
    assert {bar.holds for bar in bars} == {None}
    assert {bar.measured for bar in bars} == {"not measured"}


def test_an_error_of_ours_breaks_a_bar_and_one_of_a_peer_does_not():
    peers = run_of([sample(0, "small64", "smg", 1, errors=5), sample(0, "small64", KV_AWARE, 1)])
    ours = run_of([sample(0, "small64", ROUND_ROBIN, 1, errors=1)])
    assert (judge(peers)[-1].holds, judge(ours)[-1].holds) == (True, False)


def test_growth_is_from_the_end_of_the_first_minute_and_unknown_in_a_short_run():
    times = [(30.0, 1_000), (59.0, 1_500), (61.0, 2_000), (100.0, 2_100)]
    samples = [sample(n, "small64", KV_AWARE, 1, loaded_s=at, rss_kib=rss) for n, (at, rss) in enumerate(times)]
    assert growth(run_of(samples), KV_AWARE) == pytest.approx(1.05)
    assert growth(run_of(samples[:-1]), KV_AWARE) is None


def test_tables_tell_what_is_missing_and_escape_what_would_break_them():
    run = whole_run()
    absent = Target(name="vllm-router", title="VLLM", version="", command="", missing="no wheel | here")
    said = markdown(msgspec.structs.replace(run, targets=(*run.targets, absent)))
    assert "VLLM (not measured: no wheel \\| here)" in said
    assert "commit abc with changes" in said
    assert "own limit, without a router: 1 KB, 64 connections: 5 requests/s" in said
    rows = [line for line in said.splitlines() if line.startswith("| NGINX |")]
    assert rows[0] == "| NGINX | 20.0 (1.00) | 100 (1.00) | 10.0 (1.00) |"


def test_a_run_survives_json():
    run = whole_run()
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run


def test_a_paper_is_renewed_between_its_marks_and_nowhere_else(tmp_path):
    paper = tmp_path / "benchmarks.md"
    paper.write_text("# before\n<!-- measured: proxy -->\nout of date\n<!-- end -->\nafter\n", encoding="utf-8")
    renew_paper(whole_run(), paper, tmp_path)
    text = paper.read_text(encoding="utf-8")
    assert text.startswith("# before\n<!-- measured: proxy -->\n```sh\nmake bench-proxy\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "out of date" not in text
    assert "plots/proxy-cpu.svg" in text
    assert (tmp_path / "proxy-cpu.svg").exists()
    paper.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="measured: proxy"):
        renew_paper(whole_run(), paper, tmp_path)


def test_plots_are_well_formed_and_hold_each_median():
    drawn = plot.draw(whole_run())
    texts = {element.text for element in ET.fromstring(drawn["proxy-cpu.svg"]).iter("{http://www.w3.org/2000/svg}text")}
    assert {"NGINX", "SMG", "40", "600", "13"} <= texts
    assert DIRECT.upper() not in texts


def test_the_command_in_the_paper_can_be_given_again_and_names_no_folder():
    assert as_make(["--cache", "/home/me", "run", "--docs", "--out=/tmp/x"]) == "make bench-proxy"
    assert as_make(["run", "--only", "nginx,smg", "--rounds", "3"]) == 'make bench-proxy ARGS="--only nginx,smg --rounds 3"'


def test_an_unknown_target_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--only", "direct,apache"])
    assert "unknown: apache" in capsys.readouterr().err
