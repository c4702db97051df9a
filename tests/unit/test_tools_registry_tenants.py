"""What tenants may call, and what their sessions are told, is each one's own."""

from tests.unit.tools_registry import ME, A, B, credential, definition, pinned, registry, settings, states, upstream

from turnwise.tools_gateway.registry import ToolRegistry
from turnwise.tools_gateway.registry.pins import Pins
from turnwise.tools_gateway.settings import Auth, TenantSettings
from turnwise.tools_gateway.values import Principal


def test_a_tenant_may_call_what_its_patterns_name_and_nobody_else_anything():
    tenants = (
        TenantSettings(name="t", tools=("a__read_*", "b__*")),
        TenantSettings(name="u"),
        TenantSettings(name="v", tools=()),
    )
    tools = registry(settings(upstream("a", trusted=True), upstream("b", trusted=True), tenants=tenants))
    for tenant in ("t", "u", "v"):
        tools.learn(A, [definition("read_file"), definition("write"), definition("xread_y")], credential(A, tenant))
        tools.learn(B, [definition("z")], credential(B, tenant))
    assert [tool.name for tool in tools.tools(Principal("t"))] == ["a__read_file", "b__z"]
    assert len(tools.tools(Principal("u"))) == 4
    assert tools.tools(Principal("v")) == tools.tools(Principal("w")) == tools.tools(ME) == ()
    assert tools.resolve("a__write", Principal("t")) is None
    assert tools.resolve("mcp__turnwise__a__write", Principal("t")) is None


def test_prompts_are_held_against_the_same_patterns_by_their_public_names():
    told = settings(upstream(trusted=True), tenants=(TenantSettings(name="t", tools=("a__read_*",)),))
    tools = registry(told)
    assert tools.allows(Principal("t"), "a__read_this")
    assert not tools.allows(Principal("t"), "a__write_this")
    assert not tools.allows(Principal("nobody"), "a__read_this")


def test_a_call_needs_the_scope_of_each_pattern_that_its_name_matches():
    auth = Auth(issuer="i", audience="g", jwks_file="k", scopes={"a__*": "use", "a__write": "write"})
    tools = registry(settings(upstream(trusted=True), auth=auth))
    tools.learn(A, [definition("read"), definition("write")], credential(A, "t"))

    def names(*scopes):
        return [tool.key.tool for tool in tools.tools(Principal("t", frozenset(scopes)))]

    assert names() == names("write") == []
    assert names("use") == ["read"]
    assert names("use", "write") == names("*") == ["read", "write"]


def test_what_one_tenants_session_is_told_changes_nothing_for_another():
    of = upstream()
    tools = registry(settings(of, tenants=("t", "u")), pinned(of, definition("x")))
    t, u = Principal("t"), Principal("u")
    tools.learn(A, [definition("x")], credential(A, "t"))
    tools.learn(A, [definition("x", description="Other."), definition("y")], credential(A, "u"))
    assert (states(tools, t), states(tools, u)) == ({"x": "ready"}, {"x": "drifted", "y": "quarantined"})
    tools.learn(A, [], credential(A, "u"))
    assert (states(tools, t), states(tools, u)) == ({"x": "ready"}, {"x": "gone"})
    assert tools.credential(A, t) != tools.credential(A, u)


def test_a_definition_can_be_approved_for_one_tenant_alone():
    of = upstream()
    other = definition("x", description="Other.")
    pins = Pins(upstreams={**pinned(of, definition("x")).upstreams, **pinned(of, other, tenant="u").upstreams})
    tools = registry(settings(of, tenants=("t", "u")), pins)
    for tenant in "tu":
        tools.learn(A, [other], credential(A, tenant))
    assert states(tools, Principal("t")) == {"x": "drifted"}
    assert states(tools, Principal("u")) == {"x": "ready"}


def test_tenants_of_a_shared_upstream_see_the_same():
    def shared(name, tenant):
        return credential(name, "")

    of = upstream(shared=True)
    tools = ToolRegistry(settings(of, tenants=("t", "u")), shared, pinned(of, definition("x")))
    assert tools.learn(A, [definition("x", description="Other.")], tools.credential(A, Principal("t")))
    assert states(tools, Principal("t")) == states(tools, Principal("u")) == {"x": "drifted"}


def test_lists_that_sessions_have_alike_are_kept_once_and_those_of_strangers_not_at_all():
    told = settings(upstream(), tenants=("t", "u", "v"))
    before = registry(told)
    for tenant in ("", "t", "u"):
        before.learn(A, [definition("x"), definition("y")], credential(A, tenant))
    before.learn(A, [definition("x"), definition("x")], credential(A, "v"))
    before.credential(A, Principal("stranger"))
    for stranger in ("stranger", "another"):
        before.learn(A, [definition("z")], credential(A, stranger))
    seen = before.seen()
    assert (len(seen.upstreams), len(seen.alike)) == (2, 2)
    after = registry(told)
    after.restore(seen)
    for tenant in "tuv":
        assert states(after, Principal(tenant)) == states(before, Principal(tenant)) != {}
    assert seen.of("absent") is None
