"""What an upstream is shown on behalf of whom, by an id that tells nothing of the secret; pure."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from turnwise.errors import SettingsError
from turnwise.tools_gateway.settings import Settings, UpstreamSettings
from turnwise.tools_gateway.values import Credential, UpstreamName


class Credentials:
    """The credentials of the operator's file; raises `SettingsError` where a variable that it names is not set."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._upstreams = {upstream.name: upstream for upstream in settings.upstreams}
        self._own = {
            upstream.name: _read(environ, upstream.bearer_env, f"upstreams.{upstream.name}.bearer_env")
            for upstream in settings.upstreams
        }
        self._of_tenants = {
            (upstream, tenant.name): _read(environ, variable, self._key(upstream, tenant.name))
            for tenant in settings.tenants
            for upstream, variable in tenant.bearer_env.items()
        }
        self._bearers = {
            self.of(UpstreamName(upstream), tenant).id: secret for (upstream, tenant), secret in self._of_tenants.items()
        }

    def of(self, upstream: UpstreamName, tenant: str) -> Credential:
        """The credential by which a tenant, known to the file or not, reaches an upstream of the file."""
        if self._upstreams[upstream].shared:
            return Credential(upstream, _digest("shared", upstream))
        secret = self._of_tenants.get((upstream, tenant), self._own[upstream])
        return Credential(upstream, _digest("tenant", upstream, tenant, secret))

    def at_start(self, upstream: UpstreamSettings) -> Credential:
        """The credential under which an upstream is asked for its tools before anybody has come.

        Where tenants have tokens of their own for it and it has none itself, that of the first of them.
        """
        name = UpstreamName(upstream.name)
        with_token = [tenant for upstream_name, tenant in self._of_tenants if upstream_name == name]
        return self.of(name, with_token[0] if with_token and not self._own[name] else "")

    def bearer(self, credential: Credential) -> str:
        """The token that is shown; empty for none."""
        return self._bearers.get(credential.id, self._own[credential.upstream])

    def _key(self, upstream: str, tenant: str) -> str:
        """Where the file names a tenant's token; raises `SettingsError` where that upstream can be shown none."""
        key = f"tenants.{tenant}.bearer_env.{upstream}"
        if upstream not in self._upstreams:
            raise SettingsError(f"{key}: there is no upstream of this name")
        if self._upstreams[upstream].shared:
            raise SettingsError(f"{key}: the upstream is shared, and tenants that share it show no token of their own")
        return key


def _read(environ: Mapping[str, str], variable: str, key: str) -> str:
    """The value of a variable; empty where none is named."""
    if not variable:
        return ""
    if not environ.get(variable):
        raise SettingsError(f"{key}: the variable {variable} is not set")
    return environ[variable]


def _digest(*parts: str) -> str:
    """Of parts that cannot run into each other."""
    return sha256(b"\0".join(part.encode() for part in parts)).hexdigest()[:32]
