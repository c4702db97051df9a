"""The audit: what was decided before, what came of it after, and that nobody changed it since."""

import errno
import hashlib
import json
import os
from itertools import pairwise

import pytest
from tests.unit.tools_registry import A, definition, registry, settings, upstream

from turnwise.tools_gateway.messages import Void
from turnwise.tools_gateway.settings import Trust
from turnwise.tools_gateway.trust.audit import ToolAudit
from turnwise.tools_gateway.trust.chain import Broken, head, records
from turnwise.tools_gateway.values import Fate, Fault, Principal

GITHUB = "ghp_" + "a1B2" * 9
ME = Principal("t")


def tool():
    tools = registry(settings(upstream(trusted=True)))
    tools.learn(A, [definition()])
    return tools.tools(Principal(""))[0]


class Disk:
    """Writes until it is full."""

    def __init__(self):
        self.room = 1 << 30
        self.error = None

    def write(self, fd, data):
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        written = os.write(fd, data[: self.room])
        self.room -= written
        return written


def audit(folder, disk=None, **trust):
    return ToolAudit(Trust(state_dir=str(folder), **trust), now=lambda: 1000.5, write=(disk or Disk()).write)


def kinds(folder):
    return [record.why if isinstance(record, Broken) else record["kind"] for record in records(folder)]


def calls(known, number):
    for turn in range(number):
        record = known.decided(tool(), ME, {"n": turn}, how="asked", turn=str(turn))
        known.ended(record, Fate.SUCCESS, None, 0.25, {"content": []})


def test_what_is_no_tool_is_written_by_its_name_without_secrets(tmp_path):
    known = audit(tmp_path)
    record = known.relayed("resources/read", A, f"https://x/?token={GITHUB}&{'y' * 600}", ME, {"password": "hunter2"})
    known.ended(record, Fate.SUCCESS, None, 0.25, {"contents": []})
    decided, ended = records(tmp_path)
    assert (decided["kind"], decided["method"], decided["upstream"], decided["tenant"]) == ("decided", "resources/read", A, "t")
    assert decided["tool"].startswith("https://x/?token=[GitHub token removed]&yyy")
    assert len(decided["tool"]) < 540
    assert decided["arguments"] == {"password": "[removed]"}
    assert (ended["record"], ended["fate"], ended["result_bytes"]) == (record, "success", len('{"contents":[]}'))


def test_a_call_is_written_before_and_after_with_hashes_and_never_as_it_was(tmp_path):
    known = audit(tmp_path)
    arguments = {"query": "x" * 100, "password": "hunter2", "header": f"Bearer {GITHUB}", "n": 3, "list": list(range(99))}
    record = known.decided(tool(), ME, arguments, how="early", turn="turn-1")
    known.ended(record, Fate.FAULT, Fault.DEADLINE, 0.25, None)
    known.voided(record, Void.LENGTH)
    known.refused("a__x", ME, Fault.UNKNOWN_TOOL)
    decided, ended, voided, refused = records(tmp_path)
    assert (decided["n"], decided["at"], decided["tool"], decided["tenant"], decided["turn"]) == (
        1,
        1000.5,
        "a__echo",
        "t",
        "turn-1",
    )
    assert decided["pin"] == tool().pin
    assert (
        decided["arguments_sha256"]
        == hashlib.sha256(json.dumps(arguments, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    )
    assert decided["arguments"]["query"] == "x" * 48 + "… (100 characters)"
    assert decided["arguments"]["header"] == "Bearer [GitHub token removed]"
    assert len(decided["arguments"]["list"]) < 32
    assert (ended["record"], ended["fate"], ended["fault"], ended["seconds"]) == ("1", "fault", "deadline", 0.25)
    assert (voided["record"], voided["why"]) == ("1", "length")
    assert (refused["tool"], refused["fault"]) == ("a__x", "unknown_tool")
    written = (tmp_path / "audit.jsonl").read_text()
    assert "hunter2" not in written
    assert GITHUB not in written


def test_a_result_is_written_by_hash_and_size(tmp_path):
    known = audit(tmp_path)
    known.ended("1", Fate.SUCCESS, None, 0.25, {"content": [{"type": "text", "text": "private words"}]})
    (ended,) = records(tmp_path)
    assert (ended["result_bytes"], len(ended["result_sha256"])) == (52, 64)
    assert "private words" not in (tmp_path / "audit.jsonl").read_text()


def test_each_record_has_the_hash_of_the_one_before_and_the_chain_goes_on_after_a_restart(tmp_path):
    for _ in range(3):
        known = audit(tmp_path)
        calls(known, 2)
        known.close()
    assert [record["n"] for record in records(tmp_path)] == list(range(1, 13))
    lines = (tmp_path / "audit.jsonl").read_bytes().splitlines(keepends=True)
    for line, after in pairwise(lines):
        assert json.loads(after)["before"] == hashlib.sha256(line).hexdigest()
    assert head(tmp_path) == hashlib.sha256(lines[-1]).hexdigest()


def changed(lines):
    lines[3] = lines[3].replace(b"0.25", b"0.35")
    return "changed"


def taken_out(lines):
    del lines[3]
    return "some are gone"


def swapped(lines):
    lines[3], lines[4] = lines[4], lines[3]
    return "does not follow"


def put_in(lines):
    lines.insert(3, lines[3])
    return "does not follow"


def made_nonsense(lines):
    lines[3] = b"nonsense\n"
    return "no record"


@pytest.mark.parametrize("tamper", [changed, taken_out, swapped, put_in, made_nonsense])
def test_tampering_shows_where_it_was_done(tmp_path, tamper):
    known = audit(tmp_path)
    calls(known, 4)
    file = tmp_path / "audit.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    why = tamper(lines)
    file.write_bytes(b"".join(lines))
    broken = [record for record in records(tmp_path) if isinstance(record, Broken)]
    assert why in " ".join(found.why for found in broken)
    assert broken[0].line in {4, 5}


def test_what_is_taken_off_the_end_shows_by_the_hash_that_was_noted(tmp_path):
    known = audit(tmp_path)
    calls(known, 3)
    noted = head(tmp_path)
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    assert "decided" in kinds(tmp_path)
    assert head(tmp_path) != noted


def test_a_line_that_a_crash_cut_off_is_taken_out_and_a_record_says_so(tmp_path):
    known = audit(tmp_path)
    calls(known, 1)
    known.close()
    file = tmp_path / "audit.jsonl"
    with file.open("ab") as lines:
        lines.write(b'{"n":3,"kind":"dec')
    again = audit(tmp_path)
    calls(again, 1)
    assert kinds(tmp_path) == ["decided", "ended", "recovered", "decided", "ended"]
    recovered = list(records(tmp_path))[2]
    assert (recovered["cut_bytes"], recovered["cut_sha256"]) == (18, hashlib.sha256(b'{"n":3,"kind":"dec').hexdigest())


def test_a_file_of_one_half_line_alone_is_recovered_too(tmp_path):
    (tmp_path / "audit.jsonl").write_bytes(b'{"n":1')
    audit(tmp_path)
    assert kinds(tmp_path) == ["recovered"]


def test_a_full_disk_is_told_and_leaves_the_chain_whole(tmp_path):
    disk = Disk()
    known = audit(tmp_path, disk)
    calls(known, 1)
    disk.room = 40
    assert known.decided(tool(), ME, {}, how="asked") == ""
    assert known.decided(tool(), ME, {}, how="asked") == ""
    assert (known.num_written, known.num_unwritten) == (2, 2)
    disk.room = 1 << 30
    assert known.decided(tool(), ME, {}, how="asked") == "3"
    assert kinds(tmp_path) == ["decided", "ended", "decided"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_whatever_keeps_it_from_being_written_is_counted_and_raises_nothing(tmp_path, error):
    disk = Disk()
    known = audit(tmp_path, disk)
    disk.error = error
    assert known.decided(tool(), ME, {}, how="asked") == ""
    known.ended("", Fate.SUCCESS, None, 0.1, {})
    known.refused("x", ME, Fault.BUG)
    known.voided("", Void.BROKEN)
    assert known.num_unwritten == 4


def test_what_cannot_be_written_as_json_is_hashed_all_the_same(tmp_path):
    known = audit(tmp_path)
    assert known.decided(tool(), ME, {"a\ud800": "\ud800"}, how="asked") == "1"
    known.refused("\ud800", ME, Fault.UNKNOWN_TOOL)
    assert kinds(tmp_path) == ["decided", "refused"]


def test_without_a_folder_nothing_is_written_and_nothing_refused_for_that():
    known = ToolAudit(Trust())
    record = known.decided(tool(), ME, {}, how="asked")
    assert record
    known.ended(record, Fate.SUCCESS, None, 0.1, {})
    assert (known.num_written, known.num_unwritten) == (0, 0)
    known.close()
