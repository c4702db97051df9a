"""How many sessions each tenant may have, and whose ends when one more is made; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.values import Fault, ToolFault

NUM_UNNAMED = 8
"""Shares, where tenants are known by their tokens alone: how many there are is not known, and one must not take all."""


Key = TypeVar("Key")


class Place(msgspec.Struct, frozen=True, gc=False):
    """What a session takes."""

    tenant: str
    is_idle: bool
    used_at: float


class Places:
    """Shares of `limits.max_upstream_sessions`; `num_kept` of these are made for all and never end.

    Tenants of the file have equal shares that add up to no more than there are, so none of them ever takes the place of
    another. Sessions that tenants share are a share of their own.
    """

    def __init__(self, settings: Settings, num_kept: int) -> None:
        num_shares = len(settings.tenants) or (NUM_UNNAMED if settings.auth.issuer else 1)
        if settings.tenants or settings.auth.issuer:
            num_shares += any(upstream.shared for upstream in settings.upstreams)
        self._num_free = settings.limits.max_upstream_sessions - num_kept
        self.share = max(1, self._num_free // num_shares)

    def leaving(self, tenant: str, taken: Mapping[Key, Place]) -> Key | None:
        """The session that ends so that a tenant may have one more, None where there is room; raises `ToolFault`.

        Its own end first. Where there are more tenants than places, one that has more than this tenant gives up an idle one.
        """
        held = Counter(place.tenant for place in taken.values())
        has_share = held[tenant] < self.share
        if has_share and len(taken) < self._num_free:
            return None
        idle = [key for key, place in taken.items() if place.is_idle]
        ending = [key for key in idle if taken[key].tenant == tenant]
        if not ending and has_share:
            ending = [key for key in idle if held[taken[key].tenant] > held[tenant]]
        if not ending:
            raise ToolFault(Fault.UPSTREAM_DOWN, "the gateway has as many sessions with upstreams for this tenant as it may")
        return min(ending, key=lambda key: taken[key].used_at)
