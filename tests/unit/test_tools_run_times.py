"""What was learned of run times outlives the gateway."""

import asyncio
import logging
import math
import stat

import msgspec
import pytest

from turnwise.tools_gateway.export import run_times
from turnwise.tools_gateway.export.run_times import RunTimesFile
from turnwise.tools_gateway.forecast import RunTable
from turnwise.tools_gateway.values import Fate, ToolKey, UpstreamName

KEY = ToolKey(UpstreamName("files"), "read")


def kept(folder, table=None, *, clock=0.0, wall=1e9):
    table = table or RunTable()
    return table, RunTimesFile(str(folder), table, clock=lambda: clock, wall=lambda: wall)


def learned(folder, **rest):
    table, file = kept(folder, **rest)
    for _ in range(30):
        table.observe(KEY, 10, 2.0, Fate.SUCCESS, 0.0)
    return table, file


def test_a_gateway_that_starts_again_knows_what_it_knew(tmp_path):
    before, file = learned(tmp_path)
    file.write_last()
    table, again = kept(tmp_path, clock=77.0, wall=1e9 + 60)
    again.read()
    assert table.forecast(KEY, 10) == before.forecast(KEY, 10)
    assert table.told(KEY).last_run_at == pytest.approx(17.0)


def test_nobody_else_reads_which_tools_there_are(tmp_path):
    learned(tmp_path)[1].write_last()
    assert stat.S_IMODE((tmp_path / run_times.NAME).stat().st_mode) == 0o600


def test_nothing_is_kept_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, file = learned("")
    file.read()
    file.write_last()
    assert list(tmp_path.iterdir()) == []
    assert table.num_tools == 1


def test_a_first_start_warns_of_nothing(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        kept(tmp_path)[1].read()
    assert caplog.records == []


def of_version(data, version):
    body = msgspec.msgpack.decode(data[len(run_times.MAGIC) :])
    return run_times.MAGIC + msgspec.msgpack.encode([version, *body[1:]])


WRONG = {
    "another program's": lambda _: b"GIF89a" + bytes(99),
    "empty": lambda _: b"",
    "cut short": lambda data: data[:-20],
    "of another version": lambda data: of_version(data, 99),
    "of no run times": lambda data: run_times.MAGIC + msgspec.msgpack.encode([1, math.nan, [[["a"]], {}, [0, 0, 0]]]),
    "too long": lambda data: data + bytes(run_times.MAX_BYTES),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_file_that_cannot_be_used_is_put_aside_and_nothing_is_known(tmp_path, caplog, wrong):
    learned(tmp_path)[1].write_last()
    path = tmp_path / run_times.NAME
    broken = wrong(path.read_bytes())
    path.write_bytes(broken)
    table, file = kept(tmp_path)
    with caplog.at_level(logging.WARNING):
        file.read()
    assert table.num_tools == 0
    assert not path.exists()
    assert (tmp_path / "run-times.unusable").read_bytes() == broken
    (record,) = caplog.records
    assert "cannot be used" in record.message


def test_a_folder_that_cannot_be_written_to_is_a_warning(tmp_path, caplog):
    _, file = learned(tmp_path / "gone")
    with caplog.at_level(logging.WARNING):
        file.write_last()
    (record,) = caplog.records
    assert "cannot be written" in record.message


class Watched(RunTable):
    """Says when it is written down."""

    def __init__(self):
        super().__init__()
        self.num_dumps = 0
        self.dumped = asyncio.Event()

    def dump(self, now):
        self.num_dumps += 1
        self.dumped.set()
        return super().dump(now)


async def test_it_is_written_at_intervals_in_which_something_was_learned(tmp_path):
    table, file = learned(tmp_path, table=Watched())
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        keeping = group.create_task(file.keep_written(interval_s=0.0))
        await table.dumped.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert table.num_dumps == 1
        table.dumped.clear()
        table.observe(KEY, 10, 2.0, Fate.SUCCESS, 0.0)
        await table.dumped.wait()
        keeping.cancel()
    assert [each.name for each in tmp_path.iterdir()] == [run_times.NAME]
    again, file = kept(tmp_path)
    file.read()
    assert again.forecast(KEY, 10).num_samples == 31
