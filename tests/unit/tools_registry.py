"""Settings, definitions and registries that the tests of trust share."""

from turnwise.tools_gateway.registry import Pin, Pins, ToolRegistry, identity
from turnwise.tools_gateway.registry.definitions import pin_of
from turnwise.tools_gateway.registry.pins import owned
from turnwise.tools_gateway.settings import Settings, TenantSettings, UpstreamSettings
from turnwise.tools_gateway.values import Credential, Principal, UpstreamName

ME = Principal("")
A, B = UpstreamName("a"), UpstreamName("b")


def definition(name="echo", **members):
    return {"name": name, "description": "Says it again.", "inputSchema": {"type": "object"}, **members}


def upstream(name="a", **members):
    return UpstreamSettings(name=name, **({"command": (f"/bin/{name}",)} | members))


def settings(*upstreams, tenants=(), **members):
    named = tuple(TenantSettings(name=tenant) if isinstance(tenant, str) else tenant for tenant in tenants)
    return Settings(upstreams=upstreams or (upstream(),), tenants=named, **members)


def credential(name, tenant):
    return Credential(name, f"{name}/{tenant}")


def pinned(of, *definitions, tenant=""):
    """Pins of an upstream's settings."""
    pins = {given["name"]: Pin(sha256=pin_of(given), definition=given) for given in definitions}
    return Pins(upstreams={owned(identity(of), tenant): pins})


def registry(told, pins=None):
    return ToolRegistry(told, credential, pins)


def states(of, principal=ME):
    return {tool.key.tool: str(tool.state) for tool in of.known(principal)}
