"""Files of the audit: put aside when full, opened again, one process's alone."""

import errno
import os

import pytest
from tests.unit.test_tools_audit import audit, calls

from turnwise.errors import SettingsError
from turnwise.tools_gateway.trust.chain import Broken, Chain, records


def test_a_full_file_is_put_aside_and_the_chain_goes_on_in_the_next(tmp_path):
    known = audit(tmp_path, max_audit_bytes=4096)
    calls(known, 20)
    known.close()
    calls(audit(tmp_path, max_audit_bytes=4096), 20)
    files = sorted(file.name for file in tmp_path.glob("audit*.jsonl"))
    assert len(files) > 3
    assert all(file.stat().st_size < 4096 + 1024 for file in tmp_path.glob("audit*.jsonl"))
    assert [record["n"] for record in records(tmp_path)] == list(range(1, 81))


def test_the_oldest_files_may_be_put_away_but_none_in_between(tmp_path):
    calls(audit(tmp_path, max_audit_bytes=4096), 40)
    first, second, *_ = sorted(tmp_path.glob("audit-*.jsonl"))
    first.unlink()
    assert not any(isinstance(record, Broken) for record in records(tmp_path))
    first.write_bytes(second.read_bytes())
    second.unlink()
    third = sorted(tmp_path.glob("audit-*.jsonl"))[1]
    third.unlink()
    assert any(isinstance(record, Broken) for record in records(tmp_path))


def test_a_restart_just_after_a_file_was_put_aside_goes_on_with_its_chain(tmp_path):
    known = audit(tmp_path, max_audit_bytes=4096)
    calls(known, 9)
    known.close()
    (tmp_path / "audit.jsonl").rename(tmp_path / "audit-000000000099.jsonl")
    calls(audit(tmp_path), 1)
    assert [record["n"] for record in records(tmp_path)] == list(range(1, 21))


def test_two_gateways_cannot_write_one_audit(tmp_path):
    known = audit(tmp_path)
    with pytest.raises(SettingsError, match="another gateway"):
        audit(tmp_path)
    known.close()
    audit(tmp_path)


def test_a_folder_that_cannot_be_written_refuses_to_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"`trust\.state_dir`: .*cannot be written"):
        audit(tmp_path / "file" / "below")


def test_an_audit_whose_end_is_no_record_is_not_written_on(tmp_path):
    (tmp_path / "audit.jsonl").write_bytes(b"nonsense\n")
    with pytest.raises(SettingsError, match="last line is no record"):
        audit(tmp_path)


def test_a_record_is_on_disk_before_the_call_where_the_file_says_so(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    calls(audit(tmp_path, fsync=True), 2)
    assert len(synced) == 4


def test_a_file_that_cannot_be_opened_when_the_last_one_is_full_is_opened_for_the_next_record(tmp_path):
    failing = []

    def open_file(path, flags, mode):
        if failing:
            raise failing.pop()
        return os.open(path, flags, mode)

    chain = Chain(tmp_path, max_bytes=1, fsync=False, now=lambda: 0.0, open_file=open_file)
    assert chain.add("x", {}) == 1
    failing += [OSError(errno.EMFILE, "too many"), OSError(errno.EMFILE, "too many")]
    for _ in range(2):
        with pytest.raises(OSError, match="too many"):
            chain.add("x", {})
    assert chain.add("x", {}) == 2
    chain.close()
    assert [record["n"] for record in records(tmp_path)] == [1, 2]


def test_a_file_that_is_no_chain_when_it_is_opened_again_is_one_that_cannot_be_written(tmp_path):
    failing = []

    def open_file(path, flags, mode):
        if failing:
            path.write_text("no record\n")
            raise failing.pop()
        return os.open(path, flags, mode)

    chain = Chain(tmp_path, max_bytes=1, fsync=False, now=lambda: 0.0, open_file=open_file)
    chain.add("x", {})
    failing.append(OSError(errno.EMFILE, "too many"))
    with pytest.raises(OSError, match="too many"):
        chain.add("x", {})
    with pytest.raises(OSError, match="is no record"):
        chain.add("x", {})
    (tmp_path / "audit.jsonl").unlink()
    assert chain.add("x", {}) == 2
    chain.close()
