"""Lists of tools in a gateway that runs: when they are judged, and when they are written."""

import asyncio
import contextlib
import threading

import pytest
from tests.unit.tools_registry import A, credential, definition, settings, states, upstream

from turnwise.tools_gateway.settings import Trust
from turnwise.tools_gateway.trust.audit import ToolAudit
from turnwise.tools_gateway.trust.kept_tools import LONGEST_PAUSE_S, SHORT_BYTES, KeptTools
from turnwise.tools_gateway.trust.state import StateFolder

OF = credential(A, "")


class Lists(KeptTools):
    """The lists of a gateway whose clock stands still, and the threads that judge them."""

    def __init__(self, folder=""):
        self.now = 100.0
        self.threads = []
        self.changes = []
        told = settings(upstream(trusted=True), trust=Trust(state_dir=folder))
        self.audit = ToolAudit(told.trust, now=lambda: 1000.0)
        self.writes = asyncio.Queue()
        self.write_s = 0.0
        super().__init__(told, credential, self.audit, clock=lambda: self.now)

    def judge(self, *args):
        self.threads.append(threading.current_thread())
        return super().judge(*args)

    def _write(self, seen):
        super()._write(seen)
        self.now += self.write_s
        if threading.current_thread() is not threading.main_thread():
            self.loop.call_soon_threadsafe(
                self.writes.put_nowait, [tool["name"] for tool in next(iter(seen.upstreams.values()))]
            )

    async def due(self):
        return await self.judge_due(lambda: self.changes.append(self.now))


@pytest.fixture
def lists(tmp_path):
    lists = Lists(str(tmp_path))
    yield lists
    lists.audit.close()


async def test_a_first_list_that_is_short_counts_at_once_and_every_other_is_judged_off_the_loop(lists):
    assert lists.told(A, [definition("x")], OF)
    assert states(lists) == {"x": "ready"}
    assert lists.threads == [threading.main_thread()]
    assert not lists.told(A, [definition("y")], OF)
    assert states(lists) == {"x": "ready"}, "it waits"
    assert await lists.due() is None
    assert states(lists) == {"y": "ready"}
    assert lists.threads[1:] != [threading.main_thread()]
    assert lists.changes == [100.0]


async def test_a_first_list_that_is_long_waits(lists):
    assert not lists.told(A, [definition("x", description="y" * SHORT_BYTES)], OF)
    assert lists.threads == []
    await lists.due()
    assert states(lists) == {"x": "ready"}


async def test_a_list_that_keeps_changing_is_judged_ever_less_and_the_last_of_them_counts(lists):
    lists.told(A, [definition("x")], OF)
    for second in range(600):
        lists.now = 200.0 + second
        lists.told(A, [definition(f"x{second}")], OF)
        pause_s = await lists.due()
        assert pause_s is None or 0 < pause_s <= LONGEST_PAUSE_S
    assert 5 < len(lists.changes) < 25
    lists.now += LONGEST_PAUSE_S
    assert await lists.due() is None
    assert states(lists) == {"x599": "ready"}
    lists.now += 4 * LONGEST_PAUSE_S
    lists.told(A, [definition("y")], OF)
    await lists.due()
    lists.now += 1
    lists.told(A, [definition("z")], OF)
    await lists.due()
    assert states(lists) == {"z": "ready"}, "after a while of quiet it is heard as soon as at first"


async def test_a_list_that_cannot_be_written_down_stops_nothing(lists, caplog):
    lists.told(A, [definition("x", description="\ud800"), definition("y")], OF)
    lists.write_last()
    assert "cannot be kept" in caplog.text
    assert states(lists)["y"] == "ready"


@contextlib.asynccontextmanager
async def running(lists):
    lists.loop = asyncio.get_running_loop()
    task = asyncio.create_task(lists.run(lambda: None))
    yield
    task.cancel()
    await asyncio.wait([task])


async def test_a_list_is_on_disk_as_soon_as_it_is_known(lists, tmp_path):
    async with running(lists), asyncio.timeout(30):
        for name in ("x", "y"):
            lists.learn(A, [definition(name)], OF)
            assert await lists.writes.get() == [name]
            assert StateFolder(str(tmp_path)).seen() == lists.seen()


async def test_what_takes_long_to_write_is_written_seldom_and_when_the_gateway_stops(lists, tmp_path):
    lists.write_s = 1000.0
    async with running(lists), asyncio.timeout(30):
        lists.learn(A, [definition("x")], OF)
        assert await lists.writes.get() == ["x"]
        lists.learn(A, [definition("y")], OF)
        for _ in range(20):
            await asyncio.sleep(0)
    assert lists.writes.empty()
    lists.write_last()
    assert StateFolder(str(tmp_path)).seen() == lists.seen()


async def test_lists_are_written_when_they_are_others_than_before_and_not_while_they_are_heard(lists, tmp_path):
    file = tmp_path / "seen.json"
    lists.told(A, [definition("x")], OF)
    assert not file.exists()
    lists.write_last()
    assert StateFolder(str(tmp_path)).seen() == lists.seen()
    file.unlink()
    lists.told(A, [definition("x")], OF)
    await lists.due()
    lists.write_last()
    assert not file.exists(), "the same list again"
