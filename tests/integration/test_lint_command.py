"""`turnwise lint` as its users meet it."""

import gzip
import json
from pathlib import Path

import pytest

from turnwise.proxy.commands import main

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
ALL = sorted(CAPTURES.glob("*.jsonl"))
TURNS = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "A" * 80}, {"role": "user", "content": "more"}]


def body(clock, turns):
    return {"model": "m", "messages": [{"role": "system", "content": f"You are an agent. It is {clock}"}, *TURNS[:turns]]}


def row(clock, turns, **fields):
    return {"method": "POST", "path": "/v1/chat/completions", "headers": {}, "body": body(clock, turns), **fields}


UNSTABLE = [row("12:00", 1), row("12:01", 3)]


@pytest.fixture
def capture(tmp_path):
    def write(lines, name="calls.jsonl"):
        path = tmp_path / name
        path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
        return path

    return write


def run(capsys, *argv):
    try:
        status = main(["lint", *map(str, argv)])
    except SystemExit as exit_:
        status = exit_.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_broken_prefix_is_named_with_what_helps_and_exits_1(capsys, capture):
    status, out, err = run(capsys, capture(UNSTABLE))
    assert (status, err) == (1, "")
    assert "2 calls, 1 conversation, 0% of those that follow another are stable" in out
    assert "timestamp_in_system: once" in out
    assert "Take it out, round it to the day" in out


def test_a_capture_of_which_all_is_refused_is_not_said_to_be_stable(capsys, capture):
    status, out, _ = run(capsys, capture([row("12:00", 1) | {"body": {"model": "m"}}] * 2))
    assert "no prefix was broken" not in out
    assert "nothing could be compared: no call follows another; 2 lines were refused" in out
    assert status == 0


def test_calls_of_which_none_follows_another_are_not_said_to_be_stable(capsys, capture):
    out = run(capsys, capture([row("12:00", 1)]))[1]
    assert out.rstrip().endswith("nothing could be compared: no call follows another")


def test_texts_are_shown_only_where_they_are_asked_for(capsys, capture):
    path = capture(UNSTABLE)
    assert "It is 12:0" not in run(capsys, path)[1]
    out = run(capsys, path, "--show")[1]
    assert 'line 2 was: {"role": "system", "content": "You are an agent. It is 12:00"}' in out
    assert 'line 2 is:  {"role": "system", "content": "You are an agent. It is 12:01"}' in out


def test_stable_calls_exit_0(capsys, capture):
    status, out, _ = run(capsys, capture([row("12:00", 1), row("12:00", 3)]))
    assert status == 0
    assert "100%" in out
    assert "no prefix was broken" in out


def test_machines_get_one_json_object(capsys, capture):
    path = capture(UNSTABLE)
    status, out, _ = run(capsys, path, "--json", "--bytes-per-token", "1")
    report = json.loads(out)
    (file,) = report["files"]
    assert (status, file["path"], file["num_calls"], file["stable_share"]) == (1, str(path), 2, 0.0)
    (found,) = file["findings"]
    assert found["line"] == 2
    assert found["excerpt"] is None
    finding = found["finding"]
    system = json.dumps(UNSTABLE[0]["body"]["messages"][0])
    assert (finding["cause"], finding["segment"], finding["kind"]) == ("timestamp_in_system", 0, "system")
    assert finding["segment_byte"] == finding["prompt_byte"] == system.index('0"}')
    assert finding["tokens_lost"] == len(system) + len(json.dumps(TURNS[0])) - finding["prompt_byte"]
    assert [(total["cause"], total["count"]) for total in report["causes"]] == [("timestamp_in_system", 1)]


@pytest.mark.parametrize("as_text", [False, True])
def test_the_bytes_of_a_body_are_compared_as_they_stand(capsys, capture, as_text):
    """As an object a body has the spelling that it has in the file; as a string it has the client's own."""
    spelled = [json.dumps(body("12:00", 1)), json.dumps(body("12:00", 3), separators=(",", ":"))]
    lines = ['{"path": "/v1/chat/completions", "body": %s}\n' % (json.dumps(text) if as_text else text) for text in spelled]
    assert "json_spelling: once" in run(capsys, capture(lines))[1]


@pytest.mark.parametrize("head", [{"instructions": "Now 1:00. Be brief."}, {"system": "Now 1:00. Be brief."}])
def test_bare_bodies_are_read_by_what_they_hold(capsys, capture, head):
    (name, text), turns = *head.items(), "input" if "instructions" in head else "messages"
    lines = [{"model": "m", name: text, turns: TURNS[:1]}, {"model": "m", name: text.replace("1:00", "1:01"), turns: TURNS}]
    assert "timestamp_in_system" in run(capsys, capture(lines))[1]


def test_bare_bodies_are_chat_or_what_is_said(capsys, capture):
    path = capture([body("12:00", 1), body("12:01", 3)])
    assert "timestamp_in_system" in run(capsys, path)[1]
    assert "1 conversation," in run(capsys, path, "--api", "messages")[1]


def test_a_conversation_goes_on_in_the_next_file_plain_or_gzip(capsys, capture, tmp_path):
    first = capture(UNSTABLE[:1])
    second = tmp_path / "second.jsonl.gz"
    second.write_bytes(gzip.compress(json.dumps(UNSTABLE[1]).encode()))
    status, out, _ = run(capsys, first, second)
    assert status == 1
    assert "second.jsonl.gz: 1 call, 0 conversations" in out


def test_what_the_proxy_refuses_is_named_and_what_has_no_turns_is_counted(capsys, capture):
    lines = [
        row("1", 1, method="GET", path="/health"),
        row("1", 1, body={"messages": []}),
        {"path": "/v1/completions", "body": {"model": "m", "prompt": "x"}},
    ]
    status, out, _ = run(capsys, capture(lines))
    assert status == 0
    assert "0 calls" in out
    assert "2 lines without turns to follow" in out
    assert "line 2 is refused: `model` is missing" in out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ('{"path": "/v1/chat/completions"', ":1: is not valid JSON"),
        ("\n[1]\n", ":2: is no captured call"),
        ("17", ":1: is no captured call"),
        ('{"timestamp": 1, "hash_ids": [1, 2]}', ":1: is no captured call: expected a request with `path` and `body`"),
        ('{"path": 3, "body": {}}', ":1: is no captured call"),
        ('{"path": "/x", "headers": "none", "body": {}}', ":1: is no captured call"),
        ('{"path": "/v1/chat/completions", "body": "\\ud800"}', ":1: is not valid JSON"),
    ],
)
def test_a_file_that_is_no_capture_is_named_with_its_line_and_exits_2(capsys, capture, text, complaint):
    path = capture([text])
    status, out, err = run(capsys, path)
    assert (status, out) == (2, "")
    assert err.startswith(f"turnwise lint: {path}")
    assert complaint in err
    assert err.count("\n") == 1


def test_noise_a_folder_and_a_missing_file_are_clear_errors(capsys, tmp_path):
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(range(256)) * 40)
    for path, complaint in ((noise, "is not valid JSON"), (tmp_path, "Is a directory"), (tmp_path / "no", "No such file")):
        status, _, err = run(capsys, path)
        assert (status, complaint in err) == (2, True), err


def test_deeply_nested_json_is_not_fatal(capsys, capture):
    """The decoder takes some hundred levels, of which walking over them takes more frames than there are."""
    deep = "[" * 900 + "]" * 900
    first, second = (json.dumps(row("1", turns)).replace('"go"', deep) for turns in (1, 3))
    status, out, err = run(capsys, capture([f"{first}\n", f"{second.replace('[]', '[1]')}\n"]))
    assert (status, err) == (0, ""), out
    status, _, err = run(capsys, capture(["[" * 100_000]))
    assert (status, ":1: is no" in err) == (2, True)


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "x"])
def test_a_rate_that_cannot_be_is_refused(capsys, capture, rate):
    status, _, err = run(capsys, capture(UNSTABLE), f"--bytes-per-token={rate}")
    assert status == 2
    assert f"--bytes-per-token: must be a number above 0, not '{rate}'" in err


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_real_clients_break_no_prefix_but_one_that_asks_for_its_final_answer_under_another_head(capsys, path):
    """smolagents: the turns so far under another system prompt, without tools and `tool_choice` (LABELS.json: `rewrite`)."""
    status, out, _ = run(capsys, path, "--json")
    found = [(entry["line"], entry["finding"]["cause"]) for entry in json.loads(out)["files"][0]["findings"]]
    assert found == ([(5, "template_arguments")] if path.stem == "smolagents" else [])
    assert status == bool(found)


def test_real_clients_one_after_the_other_are_not_taken_for_each_other(capsys):
    _, out, _ = run(capsys, *ALL, "--json")
    report = json.loads(out)
    assert [(total["cause"], total["count"]) for total in report["causes"]] == [("template_arguments", 1)]
    assert sum(file["num_stable"] for file in report["files"]) >= 40
