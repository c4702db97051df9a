"""The cycle collector in a running proxy."""

import gc

import pytest

from turnwise import collector
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.memory import MemoryProxy
from turnwise.settings import Replica, Settings


@pytest.fixture
def _collector():
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("_collector")
def test_what_start_up_left_is_never_looked_at_again():
    collector.tune()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == collector.THRESHOLDS


def test_a_call_leaves_no_cycle_behind():
    async def main():
        body = {"model": "sim", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        async with MemoryProxy(Settings(replicas=(Replica(name="a", url="http://a:1"),)), SimOptions(model="sim")) as proxy:
            for stream in (False, True):
                await proxy.call({**body, "stream": stream})
            gc.collect()
            gc.disable()
            try:
                for stream in (False, True):
                    await proxy.call({**body, "stream": stream})
                gc.set_debug(gc.DEBUG_SAVEALL)
                gc.collect()
                return [
                    type(thing)
                    for thing in gc.garbage
                    if type(thing).__module__.startswith(("turnwise.proxy", "turnwise.index"))
                ]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()

    assert run_virtual(main()) == []
