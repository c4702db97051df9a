"""Whole proxies in memory, on a virtual clock."""

import pytest

from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.virtual_time import run_virtual
from turnwise.proxy.memory import MemoryProxy
from turnwise.settings import PolicySettings, Replica, Settings


@pytest.fixture
def world():
    """Makes a proxy: `async with world(2, policy=..., num_blocks=...) as proxy`; replicas are named r0, r1, ..."""

    def make(count=2, *, policy=None, has_events=True, changes=None, **options):
        replicas = tuple(Replica(url=f"http://sim:{9000 + number}", name=f"r{number}") for number in range(count))
        settings = Settings(replicas=replicas, policy=policy or PolicySettings(), **(changes or {}))
        return MemoryProxy(settings, SimOptions(model="sim", **options), has_events=has_events)

    return make


@pytest.fixture
def virtually():
    """Runs a coroutine on a virtual clock."""
    return run_virtual
