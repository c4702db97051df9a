"""Which tools and prompts a principal may have, by the operator's patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable

from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.values import Principal

EVERY_SCOPE = "*"
"""Of a principal that the operator's file itself knows by its token: its `tools` bound it, no scope does."""


class Access:
    """The patterns of tenants and scopes."""

    def __init__(self, settings: Settings) -> None:
        self._tenants = {tenant.name: _any_of(tenant.tools) for tenant in settings.tenants}
        self._scopes = [(_any_of((pattern,)), scope) for pattern, scope in settings.auth.scopes.items()]

    def allows(self, principal: Principal, name: str) -> bool:
        """Whether a principal may call the tool, or have the prompt, of a public name.

        Where the file names tenants, nobody else may call anything. A call needs the scope of each pattern that matches.
        """
        if self._tenants:
            pattern = self._tenants.get(principal.tenant)
            if pattern is None or not pattern.fullmatch(name):
                return False
        if EVERY_SCOPE in principal.scopes:
            return True
        return all(scope in principal.scopes for pattern, scope in self._scopes if pattern.fullmatch(name))


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression for all: `*` is any characters, everything else is itself. None matches nothing."""
    alternatives = "|".join(".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns)
    return re.compile(alternatives or r"(?!)")
