"""The registry with its files: what was approved is read when it changes, what upstreams say is written when it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from turnwise.errors import SettingsError
from turnwise.tools_gateway.registry import ToolRegistry
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.trust.audit import ToolAudit
from turnwise.tools_gateway.trust.state import StateFolder
from turnwise.tools_gateway.values import Credential, JsonObject, ToolState, UpstreamName

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""How soon what `turnwise tools approve` wrote is seen."""


class KeptTools(ToolRegistry):
    """The registry of a gateway that runs. Raises `SettingsError` where the file of pins is not what `approve` wrote.

    `credential` is as for `ToolRegistry`. What drifts, and what is approved, is written to the audit.
    """

    def __init__(
        self,
        settings: Settings,
        credential: Callable[[UpstreamName, str], Credential],
        audit: ToolAudit,
    ) -> None:
        self._folder = StateFolder(settings.trust.state_dir)
        self._is_kept = bool(settings.trust.state_dir)
        self._audit = audit
        self._mark = self._folder.pins_mark()
        super().__init__(settings, credential, self._folder.pins())
        self.restore(self._folder.seen())

    def learn(self, upstream: UpstreamName, definitions: Sequence[JsonObject], credential: Credential | None = None) -> bool:
        """Take an upstream's list of tools and keep it; says whether what is offered has changed."""
        credential = credential or self._credential(upstream, "")
        seen, states = self.seen(), self.states(upstream, credential)
        is_changed = super().learn(upstream, definitions, credential)
        for tool, state in self.states(upstream, credential).items():
            if state is ToolState.DRIFTED and states.get(tool) is not ToolState.DRIFTED:
                log.warning("%s: the definition of %s has changed and it is not called any more", upstream, tool)
                self._audit.noted("drifted", {"upstream": upstream, "own_name": tool})
        if self._is_kept and self.seen() != seen:
            try:
                self._folder.write_seen(self.seen())
            except SettingsError as error:
                log.error("what upstreams say cannot be kept: %s", error.message)  # noqa: TRY400 - the message says all
        return is_changed

    def refresh(self) -> bool:
        """Look whether something else is approved now; says whether what is offered has changed."""
        mark = self._folder.pins_mark()
        if mark == self._mark:
            return False
        self._mark = mark
        try:
            pins = self._folder.pins()
        except SettingsError as error:
            # What was approved before stands: a file that somebody spoiled must neither allow nor stop anything.
            log.error("%s", error.message)  # noqa: TRY400 - the message says all
            return False
        self._audit.noted(
            "approved",
            {"upstreams": {of: {name: pin.sha256 for name, pin in tools.items()} for of, tools in pins.upstreams.items()}},
        )
        return self.approve(pins)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Refresh until cancelled, and call `changed` each time that what is offered has changed."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.refresh():
                changed()
