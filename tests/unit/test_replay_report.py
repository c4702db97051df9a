"""What a replay says of its runs."""

import io
import json
import xml.etree.ElementTree as ET
from array import array

import pytest
from rich.console import Console

from turnwise.proxy.replay.bounds import Bounds
from turnwise.proxy.replay.plot import svg, write_plot
from turnwise.proxy.replay.report import Report, pacing_in_words, replicas_in_words
from turnwise.proxy.replay.results import CallResult, ReplayError, summarize
from turnwise.proxy.replay.trace import TraceCall

CALL = TraceCall(at_s=0.0, think_s=0.0, after=(), prompt_tokens=1, output_tokens=1, blocks=array("q"))


def result(arrived_s, first_token_s, prompt, cached, replica):
    return CallResult(
        call=CALL,
        arrived_s=arrived_s,
        first_token_s=first_token_s,
        ended_s=first_token_s + 1.0,
        prompt_tokens=prompt,
        cached_tokens=cached,
        replica=replica,
    )


RESULTS = [result(2.0, 0.1, 100, 50, "a"), result(3.0, 0.3, 300, 0, "b"), result(4.0, 0.8, 200, 100, "a")]


def report(policy="kv_aware <3>"):
    return Report(
        trace="t & u",
        format="mooncake",
        num_calls=3,
        num_sessions=2,
        fleet="fifo 2 x 1K tokens",
        pacing="open loop",
        seed=1,
        runs=(summarize(policy, RESULTS, num_replicas=4, wall_s=0.5),),
        bounds=Bounds(pooled_lru=0.3, pooled_belady=0.4),
    )


def test_a_summary_weighs_hits_by_tokens_and_counts_idle_replicas_as_imbalance():
    summary = summarize("p", RESULTS, num_replicas=4, wall_s=0.5)
    assert summary.hit_ratio == pytest.approx(150 / 600)
    assert summary.first_token_mean_s == pytest.approx(0.4)
    assert (summary.first_token_p50_s, summary.first_token_p99_s) == (0.3, 0.8)
    assert summary.imbalance == pytest.approx(300 * 4 / 600)
    assert summary.span_s == pytest.approx(4.0 + 1.8 - 2.0)


def test_json_holds_every_run_and_the_bounds():
    document = json.loads(report().to_json())
    assert document["runs"][0]["hit_ratio"] == pytest.approx(0.25)
    assert document["bounds"] == {"pooled_lru": 0.3, "pooled_belady": 0.4}


def test_a_table_fits_a_terminal_of_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(report("least_request").to_table())
    said = console.export_text()
    assert "…" not in said
    assert "0.2500" in said
    assert "pooled Belady" in said


def test_a_plot_is_well_formed_whatever_the_names_are():
    root = ET.fromstring(svg(report()))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"t & u: 3 calls of 2 sessions", "kv_aware <3>", "0.250", "0.40 s", "pooled LRU 0.300"} <= set(texts)


def test_a_plot_that_cannot_be_written_is_an_error_of_the_replay(tmp_path):
    with pytest.raises(ReplayError, match=r"cannot write .*none/p\.svg"):
        write_plot(tmp_path / "none" / "p.svg", report())


def test_the_fleet_in_words_counts_equal_replicas():
    assert replicas_in_words("fifo", [(500_000, 8000.0)] * 2 + [(1_000_000, 20_000.0)]) == (
        "fifo 2 x 500K tokens at 8,000 tok/s + 1 x 1,000K tokens at 20,000 tok/s"
    )
    assert replicas_in_words("default", [(500_000, 8000.0)]) == "default 1 x 500K tokens"
    assert "4 times as fast" in pacing_in_words(is_open=False, live=2, think_cap_s=5.0, speedup=4.0)
