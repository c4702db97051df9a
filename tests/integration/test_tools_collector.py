"""The cycle collector in a running gateway."""

import asyncio
import gc
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from bench.tools.callers import WrongAnswer, load
from tests.integration.tools_upstreams_world import BOUND_S, turn

from turnwise import collector
from turnwise.tools_gateway.server import app
from turnwise.tools_gateway.settings import Front, Settings, Trust, UpstreamSettings

ROOT = Path(__file__).parents[2]
CALLS = 50


@pytest.fixture
def _collector():
    thresholds, flags = gc.get_threshold(), gc.get_debug()
    yield
    gc.set_debug(flags)
    gc.garbage.clear()
    gc.enable()
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("_collector")
async def test_what_start_up_left_is_never_looked_at_again_and_calls_leave_no_cycles(tmp_path):
    command = (sys.executable, "-m", "bench.tools.echo", "stdio")
    settings = Settings(
        upstreams=(UpstreamSettings(name="echo", command=command, cwd=str(ROOT), trusted=True),),
        front=Front(port=0, admin_port=0),
        trust=Trust(state_dir=str(tmp_path)),
    )
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    gateway = asyncio.create_task(app.run(settings, stop=stop, on_ready=ready.set_result))
    port = urlsplit((await ready).url).port
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == collector.THRESHOLDS
    await until_called(port)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    await load(port, "echo__echo", "hello", calls=CALLS, connections=1)
    gc.collect()
    gc.set_debug(0)
    assert len(gc.garbage) < CALLS, {type(left) for left in gc.garbage}
    stop.set()
    await gateway


async def until_called(port):
    """Until the tool is there."""
    async with asyncio.timeout(BOUND_S):
        while True:
            try:
                return await load(port, "echo__echo", "hello", calls=1, connections=1)
            except* WrongAnswer:
                await turn()
