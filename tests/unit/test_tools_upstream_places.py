import msgspec
import pytest

from turnwise.tools_gateway.settings import Auth, Limits, Settings, TenantSettings, UpstreamSettings
from turnwise.tools_gateway.upstreams.declared import declared
from turnwise.tools_gateway.upstreams.places import Place, Places
from turnwise.tools_gateway.values import ToolFault


def settings(most, tenants=(), *, issuer="", shared=False):
    return Settings(
        upstreams=(UpstreamSettings(name="up", url="https://up.example/mcp", shared=shared),),
        tenants=tuple(TenantSettings(name=name) for name in tenants),
        auth=Auth(issuer=issuer),
        limits=Limits(max_upstream_sessions=most),
    )


def test_a_tenant_with_its_share_ends_its_own_idlest_session_and_never_that_of_another():
    places = Places(settings(4, ("alice", "bob")), 0)
    taken = {1: Place("bob", True, 0.0), 2: Place("alice", True, 5.0), 3: Place("alice", True, 4.0)}
    assert places.leaving("alice", taken) == 3
    assert places.leaving("bob", taken) is None
    busy = {key: msgspec.structs.replace(place, is_idle=place.tenant == "bob") for key, place in taken.items()}
    with pytest.raises(ToolFault, match="for this tenant"):
        places.leaving("alice", busy)


def test_one_of_unknown_many_tenants_cannot_take_all():
    places = Places(settings(80, issuer="https://issuer.example"), 0)
    taken = {number: Place("mallory", False, 0.0) for number in range(10)}
    with pytest.raises(ToolFault):
        places.leaving("mallory", taken)
    assert places.leaving("alice", taken) is None


def test_where_tenants_are_more_than_places_who_has_more_gives_up_an_idle_one():
    places = Places(settings(16, issuer="https://issuer.example"), 0)
    taken = {number: Place(str(number // 2), True, float(number)) for number in range(16)}
    assert places.leaving("new", taken) == 0
    taken = {number: Place(str(number), True, float(number)) for number in range(15)} | {15: Place("new", False, 0.0)}
    with pytest.raises(ToolFault):
        places.leaving("new", taken)


def test_a_single_tenant_has_all_places_but_those_that_are_kept():
    assert Places(settings(10), 3).share == 7


def test_sessions_that_tenants_share_are_a_share_of_their_own():
    assert Places(settings(9, ("alice", "bob"), shared=True), 0).share == 3


def test_what_is_declared_has_known_members_only_in_one_order():
    said = {
        "sampling": {"tools": {"a": 1}},
        "elicitation": {"n": 1, "url": {}, "form": {"n": 2}},
        "roots": {"listChanged": True},
    }
    assert msgspec.json.encode(declared(said)) == b'{"elicitation":{"form":{},"url":{}},"roots":{},"sampling":{"tools":{}}}'
    assert declared({"elicitation": {}, "sampling": None, "tasks": {}, "roots": True}) == {"elicitation": {}}
