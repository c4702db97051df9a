"""How the rooms of the gateway see each other; each is an interface with one real thing behind it and fakes in tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from turnwise.tools_gateway.messages import Announced, Filled, Settled, ToolTold, Void, Voided
from turnwise.tools_gateway.values import (
    PLAIN,
    AnnouncementEnd,
    Called,
    Caller,
    Credential,
    Fate,
    Fault,
    Forecast,
    JsonObject,
    Load,
    Principal,
    Request,
    Tool,
    ToolFault,
    ToolKey,
    UpstreamName,
)

Notify = Callable[[str, JsonObject], Awaitable[None]]
"""Takes a notification of an upstream that belongs to one request: method, params."""

Answer = Callable[[str, JsonObject], Awaitable[JsonObject]]
"""Takes a request that an upstream makes of the caller's client while it works on one of ours (`elicitation/create`,
`sampling/createMessage`, `roots/list`): method, params. Gives the client's result; raises `ToolFault` where the client declared
no such capability or gave an error, which is then the upstream's to hear."""


class AgentCall(msgspec.Struct, frozen=True):
    """A call of a tool, as an agent asks for it."""

    principal: Principal
    name: str
    """As the agent wrote it: public, or an alias."""
    arguments: JsonObject
    meta: JsonObject = {}
    """The caller's `_meta`, as far as it may be sent on."""
    notify: Notify | None = None
    answer: Answer | None = None
    caller: Caller = PLAIN


class Upstreams(Protocol):
    """All upstream servers; asking one never touches another."""

    def prepare(self, credential: Credential) -> None:
        """See to it that a session stands; returns at once."""

    async def ask(
        self, credential: Credential, request: Request, notify: Notify | None = None, answer: Answer | None = None
    ) -> JsonObject:
        """Send one request and give its result as it came; raises `ToolFault`.

        Being cancelled cancels the request upstream. Waits for no connection but a session's first, and for that some seconds
        at most: an upstream that is down fails at once.
        Without `answer`, an upstream that asks something of the client is told that nobody can. `resources/subscribe` and
        `resources/unsubscribe` may be asked of sessions of either revision: on the newer, their listen stream takes the URI up.
        """

    def capabilities(self, credential: Credential) -> JsonObject:
        """What the upstream declared that it can do, as MCP has it; empty while it is down."""


class Watcher(Protocol):
    """Hears what upstreams tell outside of any request."""

    def told(self, credential: Credential, method: str, params: JsonObject) -> None:
        """A list or a resource has changed, or something is logged: `notifications/...` as MCP has it.

        Not that of tools: what is offered of them changes with the registry, which learns first.
        """


class Tokens(Protocol):
    """Who holds a bearer token."""

    def principal(self, token: str) -> Principal | None:
        """The tenant and the scopes of a token that is good for this gateway now; None for any other."""


class Registry(Protocol):
    """Which tools there are, under which names; synchronous."""

    def resolve(self, name: str, principal: Principal) -> Tool | None:
        """The tool of a public name, or of an alias that a model may write; None where this principal has none."""

    def tools(self, principal: Principal) -> Sequence[Tool]:
        """Those that this principal may call, in an order that never changes while they do not."""

    def credential(self, upstream: UpstreamName, principal: Principal) -> Credential:
        """What an upstream is shown on behalf of a principal."""

    def allows(self, principal: Principal, name: str) -> bool:
        """Whether the operator's patterns let a principal have what goes by a public name, of a tool or of a prompt."""


class Forecaster(Protocol):
    """How long tools run; synchronous."""

    def forecast(self, key: ToolKey, argument_bytes: int, *, elapsed_s: float = 0.0) -> Forecast:
        """How long a run will take, or what remains of one that has run for `elapsed_s`."""

    def observe(self, key: ToolKey, argument_bytes: int, seconds: float, fate: Fate, now: float) -> None:
        """Learn from a run; no remembered result, shared run or voided call is one."""


class Guard(Protocol):
    """What arguments and results must pass; synchronous."""

    def arguments(self, tool: Tool, raw: bytes) -> JsonObject:
        """Parse strictly and check against the tool's schema; raises `ToolFault` naming the member that is wrong."""

    def check(self, tool: Tool, arguments: JsonObject) -> None:
        """Check arguments that are parsed; raises `ToolFault` naming the member that is wrong."""

    def result(self, tool: Tool, result: JsonObject) -> JsonObject:
        """Bound and clean what a tool gave, and mark it as untrusted; raises `ToolFault` where it cannot be used."""

    def relayed(self, upstream: UpstreamName, result: JsonObject) -> JsonObject:
        """The same of a prompt, a resource, a completion, or the params of what is asked of the caller's client.

        Raises `ToolFault` where it is too large or nested too deep.
        """

    def refusal(self, fault: ToolFault) -> ToolFault:
        """Bound and clean the words of a fault, which may be the upstream's."""


class Audit(Protocol):
    """What was decided and what came of it, in a chain that shows tampering."""

    def decided(self, tool: Tool, principal: Principal, arguments: JsonObject, *, how: str, turn: str = "") -> str:
        """Write that a call is about to be made; returns the id of the record, empty where it cannot be written."""

    def relayed(self, method: str, upstream: UpstreamName, name: str, principal: Principal, arguments: JsonObject) -> str:
        """The same of what is no tool: a prompt by its public name, a resource by its URI, a completion for one of them."""

    def ended(self, record: str, fate: Fate, fault: Fault | None, seconds: float, result: JsonObject | None) -> None:
        """Write what came of it."""

    def refused(self, name: str, principal: Principal, fault: Fault, *, turn: str = "") -> None:
        """Write that a call was not made."""

    def voided(self, record: str, why: Void) -> None:
        """Write that the result of an early run was given to nobody."""


class Runs(Protocol):
    """The calls of tools: what the front asks, and what the proxy tells."""

    async def call(self, asked: AgentCall) -> JsonObject:
        """Give the result of one tool call, from a run of its own or one under way; raises `ToolFault`.

        It is the same object for all whom a run serves: it is read, never changed. It may be `input_required`, which no share
        and no memory keeps; the call that goes on with it (`caller.goes_on`) is a run of its own.
        """

    def announced(self, source: object, told: Announced) -> None:
        """A model has begun to write a tool call. `source` is the proxy's connection."""

    def filled(self, source: object, told: Filled) -> None:
        """Its arguments have closed."""

    def voided(self, source: object, told: Voided) -> None:
        """It is worth nothing."""

    def settled(self, source: object, told: Settled) -> None:
        """Its turn has ended."""

    def disconnected(self, source: object) -> None:
        """A proxy has gone: what it did not settle is void."""


class Listener(Protocol):
    """Hears of runs of announced calls: the link to the proxy that announced them."""

    def tool_told(self, source: object, told: ToolTold) -> None:
        """Something has happened to a run."""


class Meter(Protocol):
    """Counts what happens to calls; synchronous."""

    def called(self, tool: Tool, done: Called) -> None:
        """An agent's call has ended."""

    def refused(self, fault: Fault) -> None:
        """A call was not made, of whatever tool: its name may be anything."""

    def early_ended(self, tool: Tool, why: Void | None) -> None:
        """An early run was given to nobody: void for this reason, or for None because nobody asked for it in time."""

    def not_early(self, tool: Tool, why: str) -> None:
        """An announced call whose arguments had closed waits for its agent; `why` is one word of a closed list."""

    def announcement_ended(self, end: AnnouncementEnd) -> None:
        """An announcement is no longer waited for."""


class Loads(Protocol):
    """How busy things are; synchronous."""

    def loads(self) -> Mapping[ToolKey, Load]:
        """Of tools that run or wait."""

    def memory_bytes(self) -> int:
        """What remembered results take."""
