"""The operator's file of the tools gateway: upstreams, what is said of their tools, tenants, limits.

Nothing in it comes from a request, an API or the upstreams themselves: a stdio upstream is a command that this machine runs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Era = Literal["auto", "2026-07-28", "2025-11-25"]
NAME = r"^[a-z0-9][a-z0-9-]{0,31}$"


class Front(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where agents, proxies and operators reach the gateway."""

    host: Annotated[
        str,
        Meta(
            description="Address of the MCP endpoint `/mcp`; another than loopback needs tokens, of `[[tenants]]` or `[auth]`."
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port of the MCP endpoint; 0 takes a free one.")] = 8090
    admin_host: Annotated[str, Meta(description="Address of `/tools`, `/metrics`, `/health` and `/ready`.")] = "127.0.0.1"
    admin_port: Annotated[int, Meta(ge=0, le=65535, description="Port of the same; 0 takes a free one.")] = 9090
    socket: Annotated[
        str, Meta(description="Path of the Unix socket on which the proxy tells of tool calls; empty for none. Mode 0600.")
    ] = ""
    allow_hosts: Annotated[
        tuple[str, ...], Meta(description="`Host` values that are answered besides those of a loopback address, port included.")
    ] = ()
    allow_origins: Annotated[
        tuple[str, ...],
        Meta(description="`Origin` values that are answered besides those of loopback addresses; requests without one always."),
    ] = ()
    drain_timeout_s: Annotated[
        float, Meta(ge=0, description="How long calls under way may take to end after SIGTERM; then they are cut off.")
    ] = 30.0


class ToolMarks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the operator says of one tool; a server's own annotations never set any of it."""

    read_only: Annotated[bool, Meta(description="It changes nothing anywhere.")] = False
    idempotent: Annotated[bool, Meta(description="Calling it twice does no more than calling it once.")] = False
    open_world: Annotated[
        bool, Meta(description="Its arguments may leave for places outside: not early once tools have answered.")
    ] = True
    early: Annotated[
        bool, Meta(description="It may run while the model still writes; needs `read_only`, `idempotent` and a `deadline_s`.")
    ] = False
    shared: Annotated[bool, Meta(description="Equal calls under way at once share one run; needs `read_only`.")] = False
    ttl_s: Annotated[float, Meta(ge=0, description="How long its result serves equal calls; needs `read_only`.")] = 0.0
    deadline_s: Annotated[float, Meta(gt=0, description="Longest run; of the upstream where it is not given.")] | None = None
    max_running: Annotated[int, Meta(ge=1, description="Runs at once; of the upstream where it is not given.")] | None = None
    enabled: Annotated[bool, Meta(description="Whether it is offered at all.")] = True


class UpstreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One MCP server behind the gateway: a command, or a URL."""

    name: Annotated[str, Meta(pattern=NAME, description="What its tools are called by: `name__tool`.")]
    prefix: Annotated[
        str | None,
        Meta(description="Stands in place of `name__`; an empty one leaves names as they are, and suits one upstream only."),
    ] = None
    command: Annotated[tuple[str, ...], Meta(description="Program and arguments; an absolute path, no shell.")] = ()
    env: Annotated[
        dict[str, str], Meta(description="Environment of the program; nothing of the gateway's own is passed on.")
    ] = {}
    env_from: Annotated[tuple[str, ...], Meta(description="Variables of the gateway's environment that are passed on.")] = ()
    cwd: Annotated[str, Meta(description="Working directory of the program; a fresh empty one where it is not given.")] = ""
    url: Annotated[
        str, Meta(description="Streamable HTTP endpoint; https, or http on a loopback address, which needs `allow_private`.")
    ] = ""
    era: Annotated[Era, Meta(description="Revision of MCP that it speaks; `auto` asks it.")] = "auto"
    bearer_env: Annotated[str, Meta(description="Variable that holds the token shown to it.")] = ""
    headers: Annotated[dict[str, str], Meta(description="Fields sent with each request.")] = {}
    allow_private: Annotated[bool, Meta(description="Whether `url` may lead to a private or loopback address.")] = False
    shared: Annotated[
        bool,
        Meta(description="Whether tenants share its sessions; a stateless HTTP upstream without credentials of tenants may."),
    ] = False
    trusted: Annotated[bool, Meta(description="Approve its tools as they come, and again when they change.")] = False
    deadline_s: Annotated[float, Meta(gt=0, description="Longest run of a tool.")] = 60.0
    max_running: Annotated[int, Meta(ge=1, description="Requests under way at once, for each credential.")] = 16
    max_result_bytes: Annotated[
        int, Meta(ge=1024, description="Largest result; a longer one is cut and says so, a longer prompt or resource refused.")
    ] = 1024 * 1024
    strict_results: Annotated[
        bool,
        Meta(
            description="Refuse results that are not what their tool's `outputSchema` says; else the log says so, once a tool."
        ),
    ] = True
    tools: Annotated[dict[str, ToolMarks], Meta(description="What is said of its tools, by their own names.")] = {}

    @property
    def public_prefix(self) -> str:
        """What stands before the names of its tools and prompts in public."""
        return f"{self.name}__" if self.prefix is None else self.prefix


class TenantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One tenant: by which tokens it is known, and what it may call."""

    name: Annotated[str, Meta(pattern=NAME, description="For people, logs and metrics.")]
    token_sha256: Annotated[tuple[str, ...], Meta(description="sha256 of its bearer tokens, in hex.")] = ()
    proxy_tenants: Annotated[
        tuple[str, ...], Meta(description="The same tenant as the proxy tells it: `tenant` in its list of programs.")
    ] = ()
    tools: Annotated[
        tuple[str, ...], Meta(description="Public names of tools that it may call, and of prompts; `*` is any characters.")
    ] = ("*",)
    bearer_env: Annotated[
        dict[str, str], Meta(description="Variable with the token shown on its behalf, by upstream with a `url`.")
    ] = {}


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Tokens of an authorization server (OAuth 2.1, RFC 9068), besides those of tenants."""

    issuer: Annotated[str, Meta(description="Who issues them; empty for none.")] = ""
    audience: Annotated[str, Meta(description="What they must be issued for: the URL of this gateway.")] = ""
    jwks_file: Annotated[str, Meta(description="File with the issuer's public keys.")] = ""
    tenant_claim: Annotated[str, Meta(description="Claim that names the tenant.")] = "tenant"
    scopes: Annotated[dict[str, str], Meta(description="Scope that a call needs, by pattern of the public name.")] = {}


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds that hold for everybody."""

    max_body_bytes: Annotated[int, Meta(ge=1024, description="Largest request.")] = 4 * 1024 * 1024
    max_argument_bytes: Annotated[int, Meta(ge=1024, description="Largest arguments.")] = 1024 * 1024
    max_depth: Annotated[int, Meta(ge=2, le=512, description="Deepest nesting of arguments and results.")] = 64
    max_queued: Annotated[int, Meta(ge=0, description="Calls that may wait for one upstream; one more is refused.")] = 256
    max_tenant_running: Annotated[int, Meta(ge=1, description="Calls of one tenant at once.")] = 256
    max_early: Annotated[int, Meta(ge=0, description="Early runs of one tenant at once.")] = 16
    claim_ttl_s: Annotated[
        float, Meta(gt=0, description="How long an announcement, or the result of an early run, waits for its agent.")
    ] = 30.0
    max_memory_bytes: Annotated[int, Meta(ge=0, description="Results that are remembered.")] = 64 * 1024 * 1024
    max_sessions: Annotated[
        int,
        Meta(
            ge=1,
            description="Sessions with clients of the older revision; each tenant has its share, half where tokens name it.",
        ),
    ] = 10_000
    session_idle_s: Annotated[float, Meta(gt=0, description="After which such a session ends.")] = 1800.0
    max_upstream_sessions: Annotated[
        int, Meta(ge=1, description="Sessions with upstreams, all tenants together; tenants have equal shares.")
    ] = 256
    upstream_idle_s: Annotated[
        float, Meta(gt=0, description="After which a session that a tenant has with an upstream ends.")
    ] = 600.0
    max_run_s: Annotated[
        float,
        Meta(gt=0, description="Longest run of a tool that tells of its progress; one that is silent has its `deadline_s`."),
    ] = 600.0
    max_held_bytes: Annotated[
        int, Meta(ge=0, description="Results of early runs that wait for the agents of one tenant; while full, none begins.")
    ] = 16 * 1024 * 1024


class Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is written down, and what is looked for."""

    state_dir: Annotated[
        str, Meta(description="Folder of pins, audit and what was learned of run times; empty keeps nothing.")
    ] = ""
    fsync: Annotated[bool, Meta(description="Whether each record of the audit is on disk before the call is made.")] = False
    max_audit_bytes: Annotated[
        int, Meta(ge=4096, description="Size at which a file of the audit is put aside and the next goes on; none is deleted.")
    ] = 64 * 1024 * 1024
    secrets: Annotated[bool, Meta(description="Refuse arguments that hold a secret, and black out those in results.")] = True
    strict: Annotated[bool, Meta(description="Refuse upstreams whose program is fetched by name without a version.")] = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    front: Front = Front()
    upstreams: Annotated[tuple[UpstreamSettings, ...], Meta(description="The MCP servers behind the gateway.")] = ()
    tenants: Annotated[
        tuple[TenantSettings, ...], Meta(description="Who may call; without any, whoever reaches the gateway is one tenant.")
    ] = ()
    auth: Auth = Auth()
    limits: Limits = Limits()
    trust: Trust = Trust()
    aliases: Annotated[
        tuple[str, ...], Meta(description="How clients write a public name to their models; `{tool}` stands for it.")
    ] = ("mcp__turnwise__{tool}", "turnwise_{tool}", "turnwise__{tool}", "mcp_turnwise_{tool}")
