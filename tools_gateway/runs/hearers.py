"""Those who are told what an upstream tells of a run."""

from __future__ import annotations

import logging

from turnwise.tools_gateway.ports import Notify
from turnwise.tools_gateway.values import PROGRESS, JsonObject

logger = logging.getLogger(__name__)


class Hearer:
    """One caller who is told what the upstream tells of a run, of which it need not be the only one."""

    __slots__ = ("_notify", "_token")

    def __init__(self, notify: Notify, meta: JsonObject) -> None:
        self._notify = notify
        self._token = meta.get("progressToken")

    async def tell(self, method: str, params: JsonObject) -> None:
        """Pass a notification on; progress under the caller's own token, and not at all where it gave none."""
        if method == PROGRESS:
            if self._token is None:
                return
            params = {**params, "progressToken": self._token}
        try:
            await self._notify(method, params)
        except Exception:
            # One that has gone away takes nothing from the run, nor from the others that wait for it.
            logger.debug("a caller could not be told of %s", method, exc_info=True)
