"""Upstreams that are programs: one JSON object a line on their input and output."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from turnwise.tools_gateway.ports import Answer, Notify
from turnwise.tools_gateway.settings import Era, UpstreamSettings
from turnwise.tools_gateway.upstreams import jsonrpc
from turnwise.tools_gateway.upstreams.allowance import EACH, NOISE_A_SECOND, Allowance, weight
from turnwise.tools_gateway.upstreams.dialogue import Dialogue, News
from turnwise.tools_gateway.upstreams.greeting import PROBE_S, Greeting, greet
from turnwise.tools_gateway.upstreams.jsonrpc import LEGACY, MODERN
from turnwise.tools_gateway.upstreams.lines import Cut, Lines, LineTooLongError
from turnwise.tools_gateway.upstreams.process import GRACE_S, Process
from turnwise.tools_gateway.upstreams.spawning import STDERR, STDOUT
from turnwise.tools_gateway.upstreams.words import Said, Words, secrets_of
from turnwise.tools_gateway.values import Fault, JsonObject, Request, ToolFault

log = logging.getLogger(__name__)

MIN_LINE_BYTES, LINES_A_RESULT = 4 * 1024 * 1024, 4
"""Longest line: room for a result that is cut later, and for its escapes."""

MAX_PAUSES = 5
"""In a row in which nothing was read of a program that wrote too much; then it is taken for broken."""

LOGGED_LINES, LOG_A_SECOND = 10, 1024 * 1024
"""Of what it writes to its error output: lines logged in a second, and bytes read in a second."""


class StdioDial:
    """Starts the program of one upstream, again and again; remembers which revision it spoke.

    `passed` is what the program is given of the gateway's own environment: secrets, by the operator's word.
    """

    def __init__(
        self,
        upstream: UpstreamSettings,
        passed: Mapping[str, str],
        *,
        news: News,
        lost: Callable[[], None],
        clock: Callable[[], float],
        capabilities: JsonObject,
    ) -> None:
        self._upstream, self._passed, self._capabilities = upstream, passed, capabilities
        self._news, self._lost, self._clock = news, lost, clock
        self._era: Era = upstream.era
        self._said = Said()

    async def __call__(self) -> StdioConnection:
        """A program that has been greeted; raises `ToolFault`."""
        connection = StdioConnection(self._upstream, self._passed, self._news, self._lost, self._clock, self._said)
        try:
            await connection.open(self._era, self._capabilities)
        except BaseException as error:
            self._era = self._upstream.era
            await connection.aclose(grace_s=0)
            if isinstance(error, OSError):
                raise ToolFault(Fault.UPSTREAM_DOWN, f"{self._upstream.name} cannot be started: {error}") from None
            raise
        if self._upstream.era == "auto":
            self._era = MODERN if jsonrpc.is_modern(connection.greeting.version) else LEGACY
        return connection

    async def aclose(self) -> None:
        """Nothing is shared."""


class StdioConnection:
    """A running program that speaks MCP."""

    def __init__(
        self,
        upstream: UpstreamSettings,
        passed: Mapping[str, str],
        news: News,
        lost: Callable[[], None],
        clock: Callable[[], float],
        said: Said,
    ) -> None:
        self._upstream, self._passed, self._clock = upstream, passed, clock
        self._tell_lost = lost
        self._process = Process(self._hear, self._ended)
        self._dialogue = Dialogue(upstream.name, self._write, news)
        self._lines = Lines(max(MIN_LINE_BYTES, LINES_A_RESULT * upstream.max_result_bytes))
        self._noise, self._num_pauses = Allowance(NOISE_A_SECOND), 0
        self._errors, self._logged = Allowance(LOG_A_SECOND), Allowance(LOGGED_LINES)
        self._words, self._said = Words(secrets_of(upstream.env, passed)), said
        said.next_program()
        self.greeting = Greeting("", {})

    @property
    def pid(self) -> int | None:
        """Of the program."""
        return self._process.pid

    @property
    def lost(self) -> ToolFault | None:
        """Why it is of no more use."""
        return self._dialogue.lost

    async def open(self, era: Era, capabilities: JsonObject) -> None:
        """Start and greet it; raises `ToolFault` and `OSError`."""
        await self._process.start(self._upstream, self._passed)
        self.greeting = await greet(self._dialogue.ask, era, capabilities, PROBE_S)
        self._process.started()
        if not jsonrpc.is_modern(self.greeting.version):
            self._dialogue.tell("notifications/initialized", {})

    def accept(self, definitions: list[JsonObject]) -> list[JsonObject]:
        """All of them: nothing of a definition changes what is written."""
        return definitions

    async def ask(self, request: Request, notify: Notify | None = None, answer: Answer | None = None) -> JsonObject:
        """Send one request and give its result; raises `ToolFault`."""
        version, capabilities = self.greeting.version, request.capabilities
        return await self._dialogue.ask(
            request.method, request.params, version, capabilities=capabilities, notify=notify, answer=answer
        )

    async def check(self) -> None:
        """Ask for something that costs nothing; an error is an answer too, and so is the answer to any other request."""
        version = self.greeting.version
        try:
            await self._dialogue.ask("server/discover" if jsonrpc.is_modern(version) else "ping", {}, version, is_check=True)
        except ToolFault as fault:
            if fault.fault is not Fault.UPSTREAM_REFUSED:
                raise

    async def watch(self, uris: Sequence[str]) -> bool:
        """Listen for changes where that has to be asked for."""
        if not jsonrpc.is_modern(self.greeting.version) or not (uris or self.greeting.can_change):
            return False
        await self._dialogue.ask("subscriptions/listen", self.greeting.wanted(uris), self.greeting.version, notify=self._told)
        return True

    def give_up(self, why: str) -> None:
        """It is of no more use."""
        if self.lost is None:
            self._dialogue.lose(why)
            self._tell_lost()

    async def aclose(self, grace_s: float = GRACE_S) -> None:
        """End the program; one that is lost already gets no grace."""
        grace_s = 0.0 if self.lost is not None else grace_s
        self._dialogue.lose(f"{self._upstream.name} was ended")
        await self._process.stop(grace_s)

    async def _told(self, method: str, params: JsonObject) -> None:
        """News within the gateway's own subscription."""
        self._dialogue.news(method, params)

    def _ended(self, why: str) -> None:
        """The program is gone; what it said last may tell more."""
        words = f", and said last: {self._words.last}" if self._words.last else ""
        self.give_up(f"{self._upstream.name} is gone: {why}{words}")

    def _write(self, line: bytes) -> None:
        """Send one line; raises `ToolFault`."""
        if not self._process.write(line):
            self.give_up(f"{self._upstream.name} takes no more requests")
            assert self.lost is not None
            raise self.lost

    def _hear(self, descriptor: int, data: bytes) -> None:
        """The program wrote something."""
        if descriptor == STDERR:
            self._hear_errors(data)
        elif self.lost is None:
            try:
                lines = self._lines.feed(data)
            except LineTooLongError:
                self.give_up(f"{self._upstream.name} wrote a line that does not end")
                return
            for line in lines:
                if isinstance(line, Cut):
                    self._hear_cut(line)
            noise = [
                weight(line)
                for line in lines
                if isinstance(line, bytes) and not (line[:1] == b"{" and self._dialogue.receive(line))
            ]
            if len(noise) < len(lines):
                self._num_pauses = 0
            if lines:
                self._weigh(sum(noise))
            else:
                self._rest(EACH)

    def _hear_cut(self, line: Cut) -> None:
        """An answer that is too large ends its own request; where nothing tells whose it is, all of them would wait for it."""
        who = self._upstream.name
        if not self._dialogue.fail(line.head, Fault.TOO_LARGE, f"the result of {who} is too large"):
            self.give_up(f"{who} wrote a line that is too long")

    def _weigh(self, noise: int) -> None:
        """Slow down a program that writes more than answers, and give up one that writes nothing else."""
        if noise and self._rest(noise):
            self._num_pauses += 1
            if self._num_pauses >= MAX_PAUSES:
                self.give_up(f"{self._upstream.name} floods its output")

    def _rest(self, amount: int) -> bool:
        """Read no more for a while where so much was too much; whether it was."""
        if pause_s := self._noise.take(amount, self._clock()):
            self._process.pause(STDOUT, pause_s)
        return pause_s > 0

    def _hear_errors(self, data: bytes) -> None:
        """Log some of what a program says for people, at `debug` what one before it said."""
        now = self._clock()
        for line in self._words.feed(data):
            if not self._logged.take(1, now):
                level = logging.DEBUG if self._said.is_known(line) else logging.INFO
                log.log(level, "%s: %s", self._upstream.name, ascii(line)[1:-1])
        if pause_s := self._errors.take(len(data), now):
            self._process.pause(STDERR, pause_s)
