"""What is known of KV over a restart of the proxy: kept in a file, believed when the engines agree."""

import asyncio
import contextlib
import logging
import os
import stat

import pytest

from turnwise.engines.sim import SimOptions, run_virtual
from turnwise.index import KvIndex
from turnwise.proxy import warm
from turnwise.proxy.following import Loss
from turnwise.proxy.memory import MemoryProxy, MemorySim
from turnwise.proxy.sequence import Mark
from turnwise.proxy.warm import Remembered
from turnwise.settings import IndexSettings, Replica, Settings

OPTIONS = SimOptions(model="sim")


class Engines:
    """Engines that outlive the proxies in front of them; `restart` puts a new process in the place of one."""

    def __init__(self, count=2):
        self.running = [Lasting() for _ in range(count)]

    def restart(self, number):
        self.running[number] = Lasting()

    @contextlib.asynccontextmanager
    async def proxy(self, file):
        replicas = tuple(Replica(url=f"http://sim:{9000 + number}", name=f"r{number}") for number in range(len(self.running)))
        settings = Settings(replicas=replicas, index=IndexSettings(state_file=str(file)))
        async with MemoryProxy(settings, lambda number: self.running[number]) as proxy:
            await asyncio.sleep(1)
            yield proxy


class Lasting:
    """An engine that is started once, by whoever comes first, and stays."""

    def __init__(self):
        self._engine = MemorySim(OPTIONS)
        self._is_running = False

    async def __aenter__(self):
        if not self._is_running:
            self._is_running = True
            await self._engine.__aenter__()
        return self

    async def __aexit__(self, *_):
        pass

    def __getattr__(self, name):
        return getattr(self._engine, name)


def turns(name, count):
    messages = [{"role": "system", "content": "be brief " * 60}]
    for turn in range(count):
        messages.append({"role": "user", "content": f"{name} asks {turn} " * 40})
        yield {"model": "sim", "messages": list(messages), "max_tokens": 8}
        messages.append({"role": "assistant", "content": "so it is"})


async def hold(proxy, bodies):
    for body in bodies:
        assert (await proxy.call(body)).head.status == 200
        await asyncio.sleep(0.5)
    return proxy.recorder.recent[-1]


def test_behind_a_restarted_proxy_the_first_call_is_predicted_to_the_block(tmp_path):
    async def main():
        engines = Engines()
        *before, last = turns("alice", 4)
        async with engines.proxy(tmp_path / "state") as proxy:
            await hold(proxy, before)
        async with engines.proxy(tmp_path / "state") as proxy:
            states = [member.feed for member in proxy.fleet.members.values()]
            return states, await hold(proxy, [last])

    states, call = run_virtual(main())
    assert states == ["live", "live"]
    assert call["predicted"]["source"] == "confirmed"
    assert call["usage"].cached_tokens > 300
    assert abs(call["predicted"]["cached_tokens"] - call["usage"].cached_tokens) <= 16


def test_without_the_file_the_first_call_is_not(tmp_path):
    async def main():
        engines = Engines()
        *before, last = turns("alice", 4)
        async with engines.proxy("") as proxy:
            await hold(proxy, before)
        async with engines.proxy("") as proxy:
            return await hold(proxy, [last])

    assert run_virtual(main())["predicted"]["cached_tokens"] == 0


def test_of_an_engine_that_has_restarted_meanwhile_nothing_is_believed(tmp_path):
    async def main():
        engines = Engines()
        *before, last = turns("alice", 4)
        async with engines.proxy(tmp_path / "state") as proxy:
            call = await hold(proxy, before)
        home = int(call["replica"][1:])
        engines.restart(home)
        async with engines.proxy(tmp_path / "state") as proxy:
            blocks = {name: cache.num_blocks for name, cache in proxy.index.stats().replicas.items()}
            return blocks[f"r{home}"], await hold(proxy, [last])

    num_blocks, call = run_virtual(main())
    assert num_blocks == 0
    assert call["predicted"]["cached_tokens"] == 0


def test_what_engines_did_while_nobody_listened_is_caught_up(tmp_path):
    async def main():
        engines = Engines(1)
        first, second, third = turns("alice", 3)
        async with engines.proxy(tmp_path / "state") as proxy:
            await hold(proxy, [first])
        async with engines.proxy("") as proxy:
            await hold(proxy, [second])
            heard_whole = proxy.index.stats().replicas["r0"].num_blocks
        async with engines.proxy(tmp_path / "state") as proxy:
            return heard_whole, proxy.index.stats().replicas["r0"].num_blocks, await hold(proxy, [third])

    heard_whole, caught_up, call = run_virtual(main())
    assert caught_up == heard_whole > 0
    assert call["usage"].cached_tokens > 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty", "folder", "contradictory"])
def test_a_file_that_cannot_be_used_is_a_cold_start_that_names_it_and_why(tmp_path, caplog, damage):
    file = tmp_path / "state"
    warm.write(str(file), KvIndex(IndexSettings()), {})
    data = file.read_bytes()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
        contradictory = warm.MAGIC + b"\x92\x80\x01"
        file.write_bytes(
            {"cut": data[:-3], "flipped": flipped, "foreign": b"ELF" + data, "empty": b"", "contradictory": contradictory}[
                damage
            ]
        )
    assert warm.read(str(file), KvIndex(IndexSettings()), 0.0) == {}
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert str(file) in record.getMessage()


def test_no_file_yet_is_no_cause_for_a_warning(tmp_path, caplog):
    assert warm.read(str(tmp_path / "state"), KvIndex(IndexSettings()), 0.0) == {}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_file_that_can_never_be_written_is_said_at_the_start(tmp_path, caplog):
    assert warm.read(str(tmp_path / "no such folder" / "state"), KvIndex(IndexSettings()), 0.0) == {}
    assert "no such folder cannot be written to" in caplog.text


async def test_why_a_child_could_not_write_is_told(tmp_path, caplog):
    path = str(tmp_path / "no such folder" / "state")
    keeping = asyncio.create_task(warm.keep_written(path, KvIndex(IndexSettings()), dict, interval_s=0.01))
    async with asyncio.timeout(30):
        while "was not written" not in caplog.text:  # noqa: ASYNC110 - nobody tells, and it is soon over
            await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert "was not written: No such file or directory" in caplog.text


def test_a_file_that_cannot_be_written_stops_nobody_and_leaves_nothing(tmp_path, caplog):
    path = tmp_path / "no such folder" / "state"
    warm.write_last(str(path), KvIndex(IndexSettings()), {})
    assert "cannot be written" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_child_writes_what_is_known_at_the_fork_and_the_parent_goes_on(tmp_path):
    file = tmp_path / "state"
    feeds = {"a": Remembered(Mark(7, 42), Loss.STARTED_LATE)}
    child = warm.fork_writer(str(file), KvIndex(IndexSettings()), feeds)
    assert os.waitpid(child, 0)[1] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert stat.S_ISREG(file.stat().st_mode)


async def test_the_file_is_written_again_and_again_while_the_proxy_runs(tmp_path):
    file = tmp_path / "state"
    keeping = asyncio.create_task(warm.keep_written(str(file), KvIndex(IndexSettings()), dict, interval_s=0.01))
    written = set()
    async with asyncio.timeout(30):
        while len(written) < 3:
            await asyncio.sleep(0)
            if file.exists():
                written.add(file.stat().st_ino)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert keeping.cancelled()
