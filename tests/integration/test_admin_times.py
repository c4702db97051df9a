"""Moments on the admin port and in the log are Unix time, whatever the clock that the proxy counts by."""

import logging

import msgspec
import pytest
from tests.integration.admin_port import WALL, admin
from tests.page.stories import NOW
from tests.unit.graph_talk import outcome

from turnwise.index import DomainKey, KvIndex
from turnwise.proxy.export.audit import Audit
from turnwise.types import ReplicaId

AGO_S = 2.5
CALL = msgspec.structs.replace(outcome(8), ended_at=NOW - AGO_S)


class FoundEmpty(KvIndex):
    """Found the cache of `gpu-a` empty a while ago."""

    def stats(self):
        stats = super().stats()
        replicas = {name: msgspec.structs.replace(cache, emptied_at=NOW - AGO_S) for name, cache in stats.replicas.items()}
        return msgspec.structs.replace(stats, replicas=replicas)


def found_empty(settings):
    index = FoundEmpty(settings)
    index.add_replica(ReplicaId("gpu-a"), DomainKey("m", 16), num_blocks=None, has_events=False)
    return index


async def test_when_a_call_ended():
    async with admin(None, calls=[CALL]) as http:
        (call,) = (await http.get("/v1/calls")).json()["calls"]
    assert call["ended_at"] == pytest.approx(WALL - AGO_S, abs=1e-3)


def test_when_a_call_ended_in_the_log(caplog):
    caplog.set_level(logging.INFO, "turnwise.calls")
    Audit(lambda: WALL - NOW).call_ended(CALL, "none")
    assert caplog.records[-1].msg["ended_at"] == pytest.approx(WALL - AGO_S, abs=1e-3)


async def test_when_a_cache_was_found_empty():
    async with admin(None, kept=found_empty) as http:
        (replica,) = (await http.get("/v1/replicas")).json()["replicas"]
        index = (await http.get("/v1/index")).json()
    assert replica["cache"]["emptied_at"] == pytest.approx(WALL - AGO_S, abs=1e-3)
    assert index["replicas"]["gpu-a"]["emptied_at"] == pytest.approx(WALL - AGO_S, abs=1e-3)
    assert [state["state"] for state in replica["states"] if "silently" in state["state"]] == ["restarted_silently"]
