"""What must hold between the keys of the operator's file, and what is allowed there but not wise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import urlsplit

from turnwise.binding import is_loopback
from turnwise.errors import SettingsError
from turnwise.settings_tree import meant
from turnwise.tools_gateway.addresses import host_refusal
from turnwise.tools_gateway.settings import Auth, Settings, TenantSettings, ToolMarks, UpstreamSettings
from turnwise.tools_gateway.unpinned import unpinned_package

ItemT = TypeVar("ItemT")
Complaints = Iterator[tuple[str, str]]
"""Of a key, what is wrong with it."""

_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,32}")
_HEX = re.compile(r"[0-9a-f]{64}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check(settings: Settings, sources: Mapping[str, str], otherwise: str) -> None:
    """Raise `SettingsError`, naming source and key, for the first thing that cannot be meant.

    `sources` are those of the keys; `otherwise` is named where what is missing stands nowhere.
    """
    for key, complaint in _complaints(settings):
        source = sources.get(key.partition("[")[0], "default")
        raise SettingsError(f"{otherwise if source == 'default' else source}: `{key}`: {complaint}")


def warnings(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """What an operator should know and may well have meant, as `key: sentence`."""
    found: list[str] = []
    for key, upstream in _numbered("upstreams", settings.upstreams):
        if package := unpinned_package(upstream.command):
            found.append(f"{key}.command: {package} is fetched without a version, so what runs may change any day")
        needed = (*upstream.env_from, upstream.bearer_env)
        found += [f"{key}: the environment has no {name}" for name in needed if name and name not in environ]
        if upstream.trusted:
            found.append(f"{key}.trusted: whatever {upstream.name} says of its tools is approved, now and when it changes")
        elif not settings.trust.state_dir:
            found.append(f"{key}: without trust.state_dir nothing can be approved, so no tool of {upstream.name} can be called")
    for key, tenant in _numbered("tenants", settings.tenants):
        if not tenant.token_sha256 and not settings.auth.issuer:
            found.append(f"{key}: without token_sha256 or [auth] nobody can be {tenant.name}")
        absent = [name for name in tenant.bearer_env.values() if name not in environ]
        found += [f"{key}.bearer_env: the environment has no {name}" for name in absent]
    if not is_loopback(settings.front.admin_host):
        found.append("front.admin_host: whoever reaches the admin port reads the tools, their run times and the metrics")
    return found


def _numbered(key: str, items: Sequence[ItemT]) -> Iterator[tuple[str, ItemT]]:
    return ((f"{key}[{position}]", item) for position, item in enumerate(items))


def _repeated(values: Sequence[str]) -> str | None:
    return next((value for value, count in Counter(values).items() if count > 1), None)


def _complaints(settings: Settings) -> Complaints:
    names = [upstream.name for upstream in settings.upstreams]
    if repeated := _repeated(names):
        yield "upstreams", f"two upstreams are named {repeated}"
    prefixes = [upstream.public_prefix for upstream in settings.upstreams]
    if "" in prefixes and len(prefixes) > 1:
        yield f"upstreams[{prefixes.index('')}].prefix", "may be empty only where there is no other upstream"
    for position, prefix in enumerate(prefixes):
        # So no tool of one upstream can ever have the public name of another's.
        for other in prefixes[:position] + prefixes[position + 1 :]:
            if prefix and other.startswith(prefix):
                yield f"upstreams[{position}].prefix", f"{prefix} also begins {other}, the prefix of another upstream"
    for key, upstream in _numbered("upstreams", settings.upstreams):
        yield from _upstream(key, upstream, is_strict=settings.trust.strict)
    yield from _tenants(settings.tenants, {upstream.name: upstream for upstream in settings.upstreams})
    yield from _auth(settings.auth)
    for position, alias in enumerate(settings.aliases):
        if alias.count("{tool}") != 1:
            yield f"aliases[{position}]", f"must hold {{tool}} once, got {alias!r}"
    front = settings.front
    if front.port and (front.host, front.port) == (front.admin_host, front.admin_port):
        yield "front.admin_port", f"is {front.port}, the port of the MCP endpoint"
    is_known = settings.auth.issuer or any(tenant.token_sha256 for tenant in settings.tenants)
    if not is_loopback(settings.front.host) and not is_known:
        yield (
            "front.host",
            f"{settings.front.host} is reached from other machines: give [[tenants]] with `token_sha256`, or [auth]",
        )


def _upstream(key: str, upstream: UpstreamSettings, *, is_strict: bool) -> Complaints:
    if bool(upstream.command) == bool(upstream.url):
        yield key, f"{upstream.name} needs either `command` or `url`" + (", not both" if upstream.url else "")
    if upstream.prefix is not None and not _PREFIX.fullmatch(upstream.prefix):
        yield f"{key}.prefix", f"must be at most 32 of A-Z a-z 0-9 _ -, got {upstream.prefix!r}"
    if upstream.command:
        yield from _command(key, upstream, is_strict=is_strict)
    if upstream.url:
        yield from _url(key, upstream)
    for name, marks in upstream.tools.items():
        yield from _marks(f"{key}.tools.{name}", marks)


def _command(key: str, upstream: UpstreamSettings, *, is_strict: bool) -> Complaints:
    program = upstream.command[0]
    if not PurePosixPath(program).is_absolute():
        yield f"{key}.command", f"must begin with an absolute path, got {program!r}"
    if any("\0" in part for part in upstream.command):
        yield f"{key}.command", "holds a NUL"
    if is_strict and (package := unpinned_package(upstream.command)):
        yield f"{key}.command", f"{package} is fetched without a version, which `trust.strict` refuses"
    for name in ("bearer_env", "headers", "allow_private"):
        if getattr(upstream, name):
            yield f"{key}.{name}", "is for a `url`; a program is told by `env` and `env_from`"


def _url(key: str, upstream: UpstreamSettings) -> Complaints:
    try:
        parts = urlsplit(upstream.url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        yield f"{key}.url", str(error)
        return
    if parts.scheme not in {"http", "https"} or not host:
        yield f"{key}.url", "must be https://host/path"
    if "@" in parts.netloc:
        yield f"{key}.url", "must not carry a user or password: name a variable in `bearer_env`"
    if parts.fragment:
        yield f"{key}.url", "has a fragment, which is never sent"
    if parts.scheme == "http" and not is_loopback(host):
        yield f"{key}.url", f"must be https: http is spoken to this machine alone, and {host} is another"
    if why := host_refusal(host, allow_private=upstream.allow_private):
        yield f"{key}.url", why
    for name in ("env", "env_from", "cwd"):
        if getattr(upstream, name):
            yield f"{key}.{name}", "is for a `command`"
    for name, value in upstream.headers.items():
        if not _HEADER.fullmatch(name):
            yield f"{key}.headers", f"{name!r} is no name of a field"
        if not value.isprintable():
            yield f"{key}.headers", f"the value of {name} must be one line of printable characters"


def _marks(key: str, marks: ToolMarks) -> Complaints:
    if marks.early:
        for name in ("read_only", "idempotent", "deadline_s"):
            if not getattr(marks, name):
                yield f"{key}.early", f"needs `{name}` too: nothing else may run before the agent asks"
    for name in ("shared", "ttl_s"):
        if getattr(marks, name) and not marks.read_only:
            yield f"{key}.{name}", "needs `read_only`: each call of a tool that changes something is its own"


def _tenants(tenants: Sequence[TenantSettings], upstreams: Mapping[str, UpstreamSettings]) -> Complaints:
    for values, what in (
        ([tenant.name for tenant in tenants], "are named"),
        ([digest for tenant in tenants for digest in tenant.token_sha256], "have the token"),
        ([proxied for tenant in tenants for proxied in tenant.proxy_tenants], "are the proxy's"),
    ):
        if repeated := _repeated(values):
            yield "tenants", f"two tenants {what} {repeated}"
    for key, tenant in _numbered("tenants", tenants):
        for digest in tenant.token_sha256:
            if not _HEX.fullmatch(digest):
                # Not repeated: somebody may have written the token itself.
                yield f"{key}.token_sha256", "must be 64 lower-case hex digits: the sha256 of a token, not the token"
        for name in tenant.bearer_env:
            if name not in upstreams:
                yield f"{key}.bearer_env", f"there is no upstream `{name}`{meant(name, upstreams)}"
            elif upstreams[name].shared:
                yield f"{key}.bearer_env", f"tenants share the sessions of {name}, so none of them can have its own token"
            elif upstreams[name].command:
                yield f"{key}.bearer_env", f"{name} is a program, which is shown no token; tell it by `env` or `env_from`"


def _auth(auth: Auth) -> Complaints:
    needed = {"issuer": auth.issuer, "audience": auth.audience, "jwks_file": auth.jwks_file}
    if any(needed.values()):
        for name, value in needed.items():
            if not value:
                yield f"auth.{name}", "is missing: tokens are checked by issuer, audience and keys together"
