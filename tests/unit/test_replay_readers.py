"""Trace files: what is read of good ones, and what is said of others."""

import gzip
import json
from pathlib import Path

import pytest

from turnwise.proxy.replay.formats import read_trace
from turnwise.proxy.replay.trace import TraceError

SAMPLES = Path(__file__).parent.parent / "data" / "traces"


def blocks(call):
    return list(call.blocks)


def test_mooncake_calls_keep_their_full_blocks_and_find_their_sessions():
    trace = read_trace(SAMPLES / "mooncake.jsonl")
    assert (trace.format, trace.block_size, trace.has_clock, trace.num_calls) == ("mooncake", 512, True, 4)
    first = trace.sessions[0].calls
    assert [blocks(call) for session in trace.sessions for call in session.calls] == [[0, 1], [0, 1, 5, 6], [0, 3], []]
    assert [call.at_s for call in first] == [0.0, 4.0]
    assert (first[1].after, first[1].think_s, first[1].prompt_tokens, first[1].output_tokens) == ((0,), 4.0, 2100, 5)


def test_the_block_that_all_prompts_share_does_not_make_one_session_of_them():
    assert [len(session.calls) for session in read_trace(SAMPLES / "mooncake.jsonl").sessions] == [2, 1, 1]


def test_weka_subagents_play_where_the_file_has_them():
    trace = read_trace(SAMPLES / "weka.jsonl")
    calls = trace.sessions[0].calls
    assert (trace.format, trace.block_size, trace.has_clock) == ("weka", 1024, False)
    assert [call.prompt_tokens for call in calls] == [3300, 1100, 2200, 4400]
    assert [call.at_s for call in calls] == [0.0, 5.0, 7.0, 30.0]
    assert [call.think_s for call in calls] == [0.0, 0.0, 1.5, 400.0]
    assert [call.after for call in calls] == [(), (0,), (1,), (2,)]


def test_weka_sessions_of_equal_tools_and_system_share_these_blocks_and_no_others():
    one, other = read_trace(SAMPLES / "weka.jsonl").sessions[:2]
    # 2,200 tokens of tools and system prompt fill two whole blocks of 1,024.
    assert blocks(one.calls[0])[:2] == blocks(other.calls[0])[:2]
    assert blocks(one.calls[0])[2] != blocks(other.calls[0])[2]
    assert not set(blocks(one.calls[0])) & set(blocks(one.calls[1])), "a subagent without tools shares nothing"


def test_weka_prompts_of_one_session_share_blocks_up_to_where_their_runs_part():
    calls = read_trace(SAMPLES / "weka.jsonl").sessions[0].calls
    assert blocks(calls[3])[:3] == blocks(calls[0])
    assert len(blocks(calls[3])) == 4
    assert blocks(calls[2])[:1] == blocks(calls[1])


def test_a_sample_is_a_seeded_shuffle_of_sessions_with_two_calls_or_more():
    trace = read_trace(SAMPLES / "weka.jsonl")
    assert {session.name for session in trace.sample(9, seed=1).sessions} == {"a", "b"}
    assert [session.name for session in trace.sample(2, 1).sessions] == [
        session.name for session in trace.sample(2, 1).sessions
    ]
    assert len({trace.sample(1, seed).sessions[0].name for seed in range(8)}) == 2


def test_the_first_calls_are_taken_by_time_where_there_is_a_clock_else_by_session():
    by_time = read_trace(SAMPLES / "mooncake.jsonl").first(2)
    assert [call.at_s for session in by_time.sessions for call in session.calls] == [0.0, 0.5]
    by_session = read_trace(SAMPLES / "weka.jsonl").first(5)
    assert [(session.name, len(session.calls)) for session in by_session.sessions] == [("a", 4), ("b", 1)]


def test_lmcache_files_are_read_together_with_their_real_text():
    trace = read_trace(SAMPLES / "lmcache")
    assert [(session.name, len(session.calls)) for session in trace.sessions] == [("s1", 2), ("s2", 1)]
    grown = trace.sessions[0].calls
    assert [call.at_s for call in grown] == [0.0, 4.0]
    assert blocks(grown[1])[: len(grown[0].blocks)] == blocks(grown[0])
    assert json.loads(b"{" + grown[0].body + b"}")["prompt"].startswith("You are a careful agent.")
    assert grown[0].is_completion


def test_spans_follow_those_that_had_ended_when_they_began():
    trace = read_trace(SAMPLES / "fan_in.json")
    (session,) = trace.sessions
    assert trace.format == "otel"
    assert [call.after for call in session.calls] == [(), (0,), (0,), (0, 1, 2)]
    assert [call.think_s for call in session.calls] == [0.0, 0.5, 1.0, 1.0]
    assert [call.output_tokens for call in session.calls] == [5, 5, 5, 5]
    assert not session.calls[0].is_completion


@pytest.mark.parametrize("name", ["mooncake.jsonl", "weka.jsonl"])
def test_a_compressed_trace_reads_as_the_plain_one(tmp_path, name):
    packed = tmp_path / (name + ".gz")
    packed.write_bytes(gzip.compress((SAMPLES / name).read_bytes()))
    assert read_trace(packed).sessions == read_trace(SAMPLES / name).sessions


def failure(path, *args):
    with pytest.raises(TraceError) as caught:
        read_trace(path, *args)
    return str(caught.value)


@pytest.mark.parametrize("name", ["mooncake.jsonl", "weka.jsonl", "lmcache/one.jsonl"])
def test_a_line_cut_short_is_named(tmp_path, name):
    lines = (SAMPLES / name).read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[:1]) + b"\n" + lines[1][: len(lines[1]) // 2])
    assert "cut.jsonl:3: is not valid JSON" in failure(cut)


def test_a_compressed_file_cut_short_is_named_with_the_line_that_it_breaks_off_in(tmp_path):
    line = (SAMPLES / "mooncake.jsonl").read_bytes().splitlines(keepends=True)[0]
    cut = tmp_path / "cut.jsonl.gz"
    packed = gzip.compress(line * 4)
    cut.write_bytes(packed[: len(packed) - 9])
    message = failure(cut)
    assert "cut.jsonl.gz:5: the gzip data is truncated" in message


def test_a_workflow_cut_short_names_the_line_that_it_breaks_off_in(tmp_path):
    lines = (SAMPLES / "fan_in.json").read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.json"
    cut.write_bytes(b"".join(lines[:9]))
    assert "cut.json:9: is not valid JSON" in failure(cut)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"timestamp": 0, "input_length": "many", "output_length": 1, "hash_ids": []}, "Expected `int`, got `str`"),
        ({"timestamp": 0, "input_length": 5000, "output_length": 1, "hash_ids": [1]}, "has 1 blocks for 5000 tokens"),
        ({"timestamp": -1, "input_length": 5, "output_length": 1, "hash_ids": [1]}, ">= 0"),
        ({"timestamp": 0, "input_length": 1 << 40, "output_length": 1, "hash_ids": [1]}, "<="),
    ],
)
def test_a_mooncake_line_that_cannot_be_is_named(tmp_path, line, problem):
    good = (SAMPLES / "mooncake.jsonl").read_text().splitlines()[0]
    bad = tmp_path / "bad.jsonl"
    bad.write_text(f"{good}\n{json.dumps(line)}\n")
    message = failure(bad)
    assert "bad.jsonl:2: " in message
    assert problem in message


def test_times_that_go_back_are_named(tmp_path):
    lines = (SAMPLES / "mooncake.jsonl").read_text().splitlines()
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join([lines[2], lines[0]]))
    assert "bad.jsonl:2: came before the line above it" in failure(bad)


def test_a_weka_request_without_blocks_is_named(tmp_path):
    session = json.loads((SAMPLES / "weka.jsonl").read_text().splitlines()[1])
    del session["requests"][1]["hash_rle"]
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(session))
    assert "bad.jsonl:1: a request of session b has no `hash_rle`" in failure(bad)


def test_runs_that_would_fill_the_memory_are_refused(tmp_path):
    session = json.loads((SAMPLES / "weka.jsonl").read_text().splitlines()[1])
    session["requests"][1]["hash_rle"] = [[1, 1 << 24]] * 64
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(session))
    assert "session b has more blocks than tokens" in failure(bad)


def test_a_span_whose_messages_are_no_messages_is_named(tmp_path):
    document = json.loads((SAMPLES / "fan_in.json").read_text())
    document["spans"][2]["attributes"]["gen_ai.input.messages"] = "hello"
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(document))
    assert "span 3 has `gen_ai.input.messages` that are not a list of messages" in failure(bad)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 something else", b'{"name": "no trace"}\n', b"\xff\xfe\x00"])
def test_a_foreign_file_is_no_trace(tmp_path, content):
    foreign = tmp_path / "foreign"
    foreign.write_bytes(content)
    assert "is no trace known here" in failure(foreign)


def test_a_foreign_file_read_as_told_names_what_is_missing(tmp_path):
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text('{"name": "no trace"}\n')
    assert "foreign.jsonl:1: is not of this format" in failure(foreign, "mooncake")


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path):
    assert "No such file" in failure(tmp_path / "none.jsonl")
    assert "has no .jsonl file in it" in failure(tmp_path)
