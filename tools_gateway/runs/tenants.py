"""Which tenant of the operator's file a proxy means: it knows its callers by digests of their credentials."""

from __future__ import annotations

from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.values import Principal


class ProxyTenants:
    """The operator's word on who is who; with neither tenants nor tokens in the file everybody is the one unnamed tenant."""

    def __init__(self, settings: Settings) -> None:
        tenants = settings.tenants
        self._are_told_apart = bool(tenants) or bool(settings.auth.issuer)
        self._principals = {known: Principal(tenant.name) for tenant in tenants for known in tenant.proxy_tenants}

    def principal(self, proxy_tenant: str) -> Principal | None:
        """Whose tools a model of this proxy's tenant writes; None for nobody's: what it announces is left alone.

        It has no scopes: what an agent's token allows is seen when the agent asks.
        """
        return self._principals.get(proxy_tenant) if self._are_told_apart else Principal("")
