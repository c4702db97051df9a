"""Who is asked to take a call: what is remembered of a model is forgotten when a replica begins or ceases to serve it."""

import pytest

from turnwise.errors import ClientFault, Overloaded
from turnwise.events import LoadReport, ReplicaFacts
from turnwise.index import KvIndex
from turnwise.proxy.fleet import Fleet
from turnwise.settings import IndexSettings, Replica, Settings
from turnwise.types import CallId, DialectName, Request

NOW = 5.0


def facts(*models):
    return ReplicaFacts(models=models, load=LoadReport())


@pytest.fixture
def fleet():
    settings = Settings(replicas=tuple(Replica(url=f"http://{name}:1", name=name) for name in "ab"))
    fleet = Fleet(settings, KvIndex(IndexSettings()))
    for member in fleet.members.values():
        member.facts, member.is_healthy = facts("m"), True
    return fleet


def asked(fleet, model="m", exclude=()):
    request = Request(CallId("c"), "r", DialectName.CHAT, "POST", "/", (), b"", NOW, NOW, model)
    return [replica.id for replica in fleet.view(request, exclude=exclude, now=NOW).replicas]


def test_a_replica_is_asked_as_long_as_it_is_in_health_and_not_draining(fleet):
    assert asked(fleet) == ["a", "b"]
    fleet.members["a"].is_healthy = False
    assert asked(fleet) == ["b"]
    fleet.members["b"].is_draining = True
    with pytest.raises(Overloaded):
        asked(fleet)
    fleet.members["a"].is_healthy, fleet.members["b"].is_draining = True, False
    assert asked(fleet) == ["a", "b"]


def test_a_replica_is_asked_for_the_models_that_it_serves_now(fleet):
    with pytest.raises(ClientFault):
        asked(fleet, "lora")
    fleet.members["b"].facts = facts("m", "lora")
    assert asked(fleet, "lora") == ["b"]
    fleet.members["b"].facts = facts("other")
    assert (asked(fleet), asked(fleet, None)) == (["a"], ["a", "b"])


def test_what_has_failed_one_call_is_asked_for_the_next(fleet):
    assert asked(fleet, exclude={"a"}) == ["b"]
    assert asked(fleet) == ["a", "b"]
