"""One session: its owner task connects, lists, watches and connects again; whoever asks meets what stands at that moment."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from random import Random

from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.upstreams.connection import Connection, Dial, Unsent
from turnwise.tools_gateway.upstreams.facts import SessionFacts, State
from turnwise.tools_gateway.upstreams.greeting import Greeting
from turnwise.tools_gateway.upstreams.listing import list_tools
from turnwise.tools_gateway.upstreams.pace import WINDOW_S, Pace
from turnwise.tools_gateway.upstreams.watching import ACKNOWLEDGED, SUBSCRIBE, UNSUBSCRIBE, Watching
from turnwise.tools_gateway.upstreams.words import Said
from turnwise.tools_gateway.values import Credential, Fault, JsonObject, Request, ToolFault

log = logging.getLogger(__name__)

CONNECT_S = 30.0
"""For a program to start, greet and list: some are fetched or compiled as they start."""

FIRST_S = 5.0
"""For how long a request waits for the first connection of its session; no request ever waits for a later one to be tried."""

AGAIN_S = 1.0
"""For how long a request that may be sent again waits for the connection after the one that was lost."""

CHECK_S = 3.0
"""For an upstream to answer anything at all, after it left a request without an answer."""

LISTED_EVERY_S = 1.0
"""At most, however often an upstream says that its list has changed."""

TOOLS_CHANGED = "notifications/tools/list_changed"


class Session:
    """An upstream under one credential.

    `on_tools` is given its definitions each time they were listed, `told` hears of other
    changes and of what it says outside of any request.
    """

    def __init__(
        self,
        credential: Credential,
        pace: Pace,
        *,
        clock: Callable[[], float],
        rng: Random,
        on_tools: Callable[[list[JsonObject]], object],
        told: Callable[[str, JsonObject], None],
    ) -> None:
        self._name, self._credential, self._pace = credential.upstream, credential, pace
        self._clock, self._rng, self._on_tools, self._told = clock, rng, on_tools, told
        self._connection: Connection | None = None
        self._watching = Watching(self._name, self._missed)
        self._state, self._why = State.CONNECTING, f"{self._name} has not been reached yet"
        self._was_tried, self._verdict, self._stirred = False, asyncio.Event(), asyncio.Event()
        self._is_suspect = self._has_changed = False
        self._next_dial, self._num_faults, self._last_fault, self._listed_at = 0.0, 0, "", 0.0
        self._under_way: set[object] = set()
        self._reasons = Said()
        self.used_at = clock()

    async def run(self, dial: Dial) -> None:
        """Own the session until cancelled; never raises otherwise."""
        try:
            while True:
                self._state = State.CONNECTING
                self._pace.begin(self._clock())
                await self._stand(dial)
                now = self._clock()
                pause_s = self._pace.pause(now, self._rng)
                self._next_dial = now + pause_s
                self._state = State.BROKEN if self._pace.is_spent(now) else State.DOWN
                await asyncio.sleep(pause_s)
        finally:
            self._why = f"the session with {self._name} has ended"
            self._judge(State.DOWN)
            await dial.aclose()

    async def ask(self, request: Request, notify: Notify | None, answer: Answer | None) -> JsonObject:
        """Send one request and give its result; raises `ToolFault`."""
        self._under_way.add(token := object())
        limit_s = None if math.isinf(request.deadline) else request.deadline - self._clock()
        scope = asyncio.timeout(limit_s)
        try:
            async with scope:
                return await self._ask_twice(request, notify, answer)
        except TimeoutError:
            if not scope.expired():
                raise
            self._suspect()
            raise self._counted(ToolFault(Fault.DEADLINE, f"{self._name} did not answer in time")) from None
        except ToolFault as fault:
            if fault.fault is Fault.UPSTREAM_BROKE:
                self._suspect()
            self._counted(fault)
            raise
        finally:
            self._under_way.remove(token)
            self.used_at = self._clock()

    def lost(self) -> None:
        """The connection says that it is lost."""
        self._verdict.clear()
        self._stirred.set()

    def news(self, method: str, params: JsonObject) -> None:
        """The upstream says something outside of any request."""
        if method == TOOLS_CHANGED:
            self._missed()
        elif method != ACKNOWLEDGED:
            self._told(method, params)
        self._watching.heard(method)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return len(self._under_way)

    @property
    def greeting(self) -> Greeting | None:
        """What was agreed on; None while nothing stands."""
        return None if self._connection is None else self._connection.greeting

    def facts(self) -> SessionFacts:
        """How it stands."""
        connection = self._connection
        return SessionFacts(
            upstream=self._name,
            credential=self._credential.id[:8],
            state=self._state,
            era="" if connection is None else connection.greeting.version,
            num_dials=self._pace.num_dials,
            num_faults=self._num_faults,
            in_flight=self.in_flight,
            last_fault=self._last_fault,
            next_dial_s=max(0.0, self._next_dial - self._clock()),
            pid=None if connection is None else connection.pid,
        )

    async def first(self) -> Connection:
        """The connection that stands, or the first one while it is made; raises `ToolFault`."""
        if not self._was_tried:
            await self._judged_within(FIRST_S)
        connection = self._connection
        if connection is None:
            raise Unsent(Fault.UPSTREAM_DOWN, self._why)
        if connection.lost is not None:
            raise Unsent(Fault.UPSTREAM_DOWN, connection.lost.message)
        return connection

    async def _ask_twice(self, request: Request, notify: Notify | None, answer: Answer | None) -> JsonObject:
        """Once more, over the connection after the one that was lost, only where the upstream did not take it."""
        connection = await self.first()
        if request.method in {SUBSCRIBE, UNSUBSCRIBE}:
            return await self._watching.subscribe(connection, request)
        try:
            return await connection.ask(request, notify, answer)
        except Unsent:
            pass
        await self._judged_within(AGAIN_S)
        connection = await self.first()
        return await connection.ask(request, notify, answer)

    async def _judged_within(self, seconds: float) -> None:
        """Wait until it is known whether a connection stands, that long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._verdict.wait()
        except TimeoutError:
            raise Unsent(Fault.UPSTREAM_DOWN, f"{self._name} is not connected yet") from None

    async def _stand(self, dial: Dial) -> None:
        """One connection, from its dial to its end."""
        connection: Connection | None = None
        stood_from: float | None = None
        why = ""
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await dial()
                await self._list(connection)
                await self._watching.begin(connection)
            stood_from = self._clock()
            self._connection = connection
            self._judge(State.UP)
            await self._serve(connection)
        except ToolFault as fault:
            why = fault.message
        except TimeoutError:
            why = f"{self._name} does not answer"
        except Exception:
            log.exception("the session of %s ended by a bug", self._name)
            why = f"{self._name} cannot be used for a bug of the gateway"
        finally:
            self._connection, self._state = None, State.DOWN
            await self._watching.end()
            if why:
                log.log(logging.DEBUG if self._reasons.is_known(why) else logging.WARNING, "down: %s", ascii(why)[1:-1])
                self._why = why
            if connection is not None:
                if why:
                    connection.give_up(why)
                await connection.aclose()
        stood_s = 0.0 if stood_from is None else self._clock() - stood_from
        self._reasons = Said() if stood_s >= WINDOW_S else self._reasons
        self._reasons.next_program()
        self._pace.lost(stood_s)
        if stood_from is None:
            self._judge(State.DOWN)

    async def _serve(self, connection: Connection) -> None:
        """See to a connection until it is lost; raises what ended it."""
        while True:
            if connection.lost is not None:
                raise connection.lost
            if self._is_suspect:
                self._is_suspect = False
                await self._check(connection)
            pause_s = self._listed_at + LISTED_EVERY_S - self._clock() if self._has_changed else None
            if pause_s is not None and pause_s <= 0:
                async with asyncio.timeout(CONNECT_S):
                    await self._list_again(connection)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stirred.wait()
            self._stirred.clear()

    async def _check(self, connection: Connection) -> None:
        """Find out whether it answers at all; raises `TimeoutError` where it does not.

        Many programs do one thing at a time, and say nothing meanwhile: as long as anybody waits for what was asked before, its
        silence proves nothing.
        """
        before = self._under_way.copy()
        while True:
            try:
                async with asyncio.timeout(CHECK_S):
                    return await connection.check()
            except TimeoutError:
                before &= self._under_way
                if not before:
                    raise

    async def _list(self, connection: Connection) -> None:
        """Ask for all tools and hand them on."""
        self._has_changed, self._listed_at = False, self._clock()
        self._on_tools(connection.accept(await list_tools(connection, self._name)))

    async def _list_again(self, connection: Connection) -> None:
        """The same of a connection that stands: an upstream that will not say keeps the list it gave."""
        try:
            await self._list(connection)
        except ToolFault as fault:
            if fault.fault is not Fault.UPSTREAM_REFUSED:
                raise
            log.warning("%s did not list its tools again: %s", self._name, ascii(fault.message)[1:-1])

    def _missed(self) -> None:
        """The list of tools may be another."""
        self._has_changed = True
        self._stirred.set()

    def _judge(self, state: State) -> None:
        """It is known now whether a connection stands."""
        self._state, self._was_tried = state, True
        self._verdict.set()

    def _suspect(self) -> None:
        """Have the owner find out whether the upstream answers at all."""
        self._is_suspect = True
        self._stirred.set()

    def _counted(self, fault: ToolFault) -> ToolFault:
        """Count a request without a result."""
        self._num_faults += 1
        self._last_fault = fault.message
        return fault
