"""What an upstream is shown on behalf of whom, by an id that tells nothing of the secret; pure."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from turnwise.tools_gateway.settings import Settings, UpstreamSettings
from turnwise.tools_gateway.values import Credential, UpstreamName


class Credentials:
    """The credentials of the operator's file; a token whose variable is not set is empty, and nothing is shown then."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._upstreams = {upstream.name: upstream for upstream in settings.upstreams}
        self._tenants = tuple(tenant.name for tenant in settings.tenants)
        self._own = {upstream.name: environ.get(upstream.bearer_env, "") for upstream in settings.upstreams}
        self._of_tenants = {
            (upstream, tenant.name): environ.get(variable, "")
            for tenant in settings.tenants
            for upstream, variable in tenant.bearer_env.items()
        }
        self._bearers = {
            self.of(UpstreamName(upstream), tenant).id: secret
            for (upstream, tenant), secret in self._of_tenants.items()
            if not self._upstreams[upstream].shared
        }

    def of(self, upstream: UpstreamName, tenant: str) -> Credential:
        """The credential by which a tenant, known to the file or not, reaches an upstream of the file."""
        if self._upstreams[upstream].shared:
            return Credential(upstream, _digest("shared", upstream))
        secret = self._of_tenants.get((upstream, tenant), self._own[upstream])
        return Credential(upstream, _digest("tenant", upstream, tenant, secret), tenant)

    def at_start(self, upstream: UpstreamSettings) -> tuple[Credential, ...]:
        """The credentials under which an upstream is asked for its tools before anybody has come."""
        name = UpstreamName(upstream.name)
        return (self.of(name, ""),) if upstream.shared else tuple(self.of(name, tenant) for tenant in self._tenants or ("",))

    def bearer(self, credential: Credential) -> str:
        """The token that is shown; empty for none."""
        return self._bearers.get(credential.id, self._own[credential.upstream])


def _digest(*parts: str) -> str:
    """Of parts that cannot run into each other."""
    return sha256(b"\0".join(part.encode() for part in parts)).hexdigest()[:32]
