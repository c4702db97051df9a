"""The registry with its files: what was approved is read when it changes, what upstreams say is written now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from turnwise.errors import SettingsError
from turnwise.tools_gateway.registry import ToolRegistry
from turnwise.tools_gateway.registry.pins import Seen
from turnwise.tools_gateway.registry.places import Judged
from turnwise.tools_gateway.registry.tools import MAX_VIEWS
from turnwise.tools_gateway.registry.views import num_bytes
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.trust.audit import ToolAudit
from turnwise.tools_gateway.trust.state import StateFolder
from turnwise.tools_gateway.values import Credential, JsonObject, ToolState, UpstreamName

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""How soon what `turnwise tools approve` wrote is seen."""
WRITE_SHARE = 0.1
"""What upstreams say is written at once, for `approve` reads it from disk, but no more of the time than this goes to it."""
LONGEST_REST_S = 2.0
"""After this it is written again, however long it took."""
SHORT_BYTES = 64 * 1024
"""Of a list as JSON that is judged at once, in about 10 ms."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
"""Between two lists of one session that are judged. A list that is judged later is one that the upstream told of later."""


class _Pace(msgspec.Struct):
    """How often the lists of one session are judged: ever less while they keep coming."""

    next_at: float = 0.0
    pause_s: float = 0.0

    def judged(self, now: float) -> None:
        """One was judged: the next waits twice as long as this one did, unless it comes after that much quiet."""
        is_quiet = now - self.next_at > 2 * self.pause_s
        self.pause_s = FIRST_PAUSE_S if is_quiet else min(2 * self.pause_s, LONGEST_PAUSE_S)
        self.next_at = now + self.pause_s


class KeptTools(ToolRegistry):
    """The registry of a gateway that runs. Raises `SettingsError` where the file of pins is not what `approve` wrote.

    `credential` is as for `ToolRegistry`. What drifts, and what is approved, is written to the audit.
    """

    def __init__(
        self,
        settings: Settings,
        credential: Callable[[UpstreamName, str], Credential],
        audit: ToolAudit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = StateFolder(settings.trust.state_dir)
        self._is_kept = bool(settings.trust.state_dir)
        self._audit = audit
        self._mark = self._folder.pins_mark()
        self._clock = clock
        self._waiting: dict[tuple[UpstreamName, str], tuple[list[JsonObject], Credential]] = {}
        self._paces: dict[tuple[UpstreamName, str], _Pace] = {}
        self._stirred = asyncio.Event()
        self._unwritten = asyncio.Event()
        self._told: frozenset[str] = frozenset()
        super().__init__(settings, credential, self._folder.pins())
        self.restore(self._folder.seen())
        self._num_written = self.num_changes

    def told(self, upstream: UpstreamName, definitions: list[JsonObject], credential: Credential) -> bool:
        """Hear an upstream's list; says whether what is offered has changed at once.

        A session's first list counts at once where it is short, for whoever opened the session waits for it. Any other waits
        for `judge_due`, and of those of one session only the last one does.
        """
        of = (upstream, credential.id)
        if of not in self._paces and num_bytes(definitions, SHORT_BYTES) <= SHORT_BYTES:
            self._pace(of)
            return self.learn(upstream, definitions, credential)
        self._waiting[of] = (definitions, credential)
        self._stirred.set()
        return False

    def take(self, judged: Judged) -> bool:
        """Go by a list that was judged, and write down what has drifted; says whether what is offered has changed."""
        upstream, credential = judged.upstream, judged.credential
        states = self.states(upstream, credential)
        is_changed = super().take(judged)
        if self.num_changes != self._num_written:
            self._unwritten.set()
        for tool, state in self.states(upstream, credential).items():
            if state is ToolState.DRIFTED and states.get(tool) is not ToolState.DRIFTED:
                log.warning("%s: the definition of %s has changed and it is not called any more", upstream, tool)
                self._audit.noted("drifted", {"upstream": upstream, "own_name": tool})
        complaints = self.complaints()
        for complaint in complaints:
            if complaint not in self._told:
                log.warning("%s", complaint)
        self._told = frozenset(complaints)
        return is_changed

    async def judge_due(self, changed: Callable[[], None]) -> float | None:
        """Judge the lists whose time has come, off the loop; gives the seconds until the next one's, None where none waits."""
        now = self._clock()
        for of in [of for of in self._waiting if self._pace(of).next_at <= now]:
            definitions, credential = self._waiting.pop(of)
            try:
                judged = await asyncio.to_thread(self.judge, of[0], definitions, credential)
            except Exception:
                log.exception("the list of %s is left by a bug of the gateway", of[0])
                continue
            self._pace(of).judged(self._clock())
            if self.take(judged):
                changed()
        waits = [self._pace(of).next_at for of in self._waiting]
        return max(0.0, min(waits) - self._clock()) if waits else None

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

    def write_last(self) -> None:
        """Write what upstreams say when nobody hears them any more."""
        if self._is_kept and self.num_changes != self._num_written:
            self._write(self._noted())

    async def run(self, changed: Callable[[], None]) -> None:
        """Judge lists, see approvals and keep what upstreams say, until cancelled.

        `changed` is called each time that what is offered has changed.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(changed))
            group.create_task(self._judge_all(changed))
            group.create_task(self._keep_written())

    async def _follow(self, changed: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.refresh():
                changed()

    async def _judge_all(self, changed: Callable[[], None]) -> None:
        while True:
            self._stirred.clear()
            pause_s = await self.judge_due(changed)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stirred.wait()

    async def _keep_written(self) -> None:
        while self._is_kept:
            await self._unwritten.wait()
            self._unwritten.clear()
            began_at = self._clock()
            writing = asyncio.ensure_future(asyncio.to_thread(self._write, self._noted()))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                # What is written at the end must not meet what was written before it.
                await writing
                raise
            await asyncio.sleep(min(LONGEST_REST_S, (self._clock() - began_at) / WRITE_SHARE))

    def _noted(self) -> Seen:
        self._num_written = self.num_changes
        return self.seen()

    def _write(self, seen: Seen) -> None:
        try:
            self._folder.write_seen(seen)
        except SettingsError as error:
            log.error("what upstreams say cannot be kept: %s", error.message)  # noqa: TRY400 - the message says all

    def _pace(self, of: tuple[UpstreamName, str]) -> _Pace:
        pace = self._paces.get(of)
        if pace is None:
            if len(self._paces) >= MAX_VIEWS:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[of] = _Pace()
        return pace
